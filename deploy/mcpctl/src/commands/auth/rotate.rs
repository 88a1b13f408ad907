//! `mcpctl auth rotate`: a new key beside the old one, and later the end of the old one.

use clap::Args;
use serde_json::json;

use super::{
    certificates::{Authority, Holder},
    roster::{Folder, Tls},
    secrets::{self, SEED},
};
use crate::{
    cli::Global,
    failure::Failure,
    output::{self, hints, program},
};

/// Keys of one identity that are valid at once. More than the old and the new one is a rotation that was forgotten.
const MOST_KEYS: usize = 2;

/// Gives an identity a new key and a new certificate; its old key stays valid until it is forgotten.
///
/// Processes take the new key up with their next connection. Then `--forget-old`, and a reload of the servers.
#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// The identity: an agent, a client or `admin`
    #[arg(value_name = "NAME")]
    name: String,
    /// Makes no new key; all but the newest are no longer valid
    #[arg(long)]
    forget_old: bool,
}

pub(super) fn run(args: &RotateArgs, folder: &Folder, global: &Global) -> Result<(), Failure> {
    let (namespace, name) = (&global.namespace, &args.name);
    let mut roster = folder.load(namespace)?;
    let tls = roster.tls;
    let Some(identity) = roster.identities(namespace).get_mut(name) else {
        return Err(Failure::usage(format!(
            "there is no identity `{name}` in the namespace `{namespace}`"
        ))
        .remedy("`mcpctl auth show` lists them"));
    };
    if args.forget_old {
        identity.keys.truncate(1);
    } else if identity.keys.len() >= MOST_KEYS {
        return Err(
            Failure::usage(format!("`{name}` has an old key that is still valid")).remedy(format!(
                "end it first with `mcpctl auth rotate {name} --forget-old`"
            )),
        );
    } else {
        let place = folder.identity(namespace, name);
        secrets::make_folder(&place)?;
        // The seed is replaced by renaming, and the servers learn of the key before anybody can use it: they are reloaded.
        identity
            .keys
            .insert(0, secrets::make_key(&place.join(SEED))?);
        if tls == Tls::Mutual {
            Authority::open(folder.root())?.issue(&place, &Holder::Client(name))?;
        }
    }
    let keys = identity.keys.clone();
    folder.save(&roster)?;
    tell(folder, name, &keys, global);
    Ok(())
}

fn tell(folder: &Folder, name: &str, keys: &[String], global: &Global) {
    if global.json {
        output::json(&json!({ "name": name, "namespace": global.namespace, "keys": keys }));
        return;
    }
    let reload = (
        "nats-server --signal reload".to_owned(),
        "tells the servers",
    );
    match keys.len() {
        1 => {
            output::line(format!("`{name}` has one valid key"));
            hints(&[reload]);
        }
        count => {
            output::line(format!(
                "`{name}` has {count} valid keys: the new one, and the old one"
            ));
            let forget = format!(
                "{} auth --dir {} rotate {name} --forget-old",
                program(),
                folder.root().display()
            );
            hints(&[reload, (forget, "when every process has the new one")]);
        }
    }
}
