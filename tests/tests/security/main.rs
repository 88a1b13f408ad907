//! Who may do what: the rights that `mcpctl auth` writes, on a real server with TLS on both sides.

mod denied;
mod doctor;
mod folder;
mod kin;
mod realm;
mod sabotage;
mod secrets;
mod tenants;
mod thief;
mod versions;
mod work;
