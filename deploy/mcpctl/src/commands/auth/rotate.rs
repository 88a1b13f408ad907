//! `mcpctl auth rotate`: a new key beside the old one, and later the new one in the place of the old one.
//!
//! The seed that processes read stays until the servers know the new key: else a process that connects again in between is
//! refused. They are told in between the two steps, and nothing here can see whether they were.

use std::path::Path;

use clap::Args;
use serde_json::json;

use super::{
    certificates::{Authority, Holder},
    roster::{Folder, Identity, Tls},
    secrets::{self, NEXT_SEED},
};
use crate::{
    cli::Global,
    failure::Failure,
    output::{self, hints, program},
};

/// Keys of one identity that are valid at once. More than the old and the new one is a rotation that was forgotten.
const MOST_KEYS: usize = 2;

/// Gives an identity a new key and a new certificate, in two steps.
///
/// First the new key becomes valid beside the old one, which stays in use: reload the servers. Then `--forget-old` puts the new
/// key into use and ends the old one: distribute the identity's folder, and reload again. Processes take the new key up with
/// their next connection.
#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// The identity: an agent, a client or `admin`
    #[arg(value_name = "NAME")]
    name: String,
    /// The second step, once the servers know the new key: it is in use from now on, and the old one no longer valid
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
    let place = folder.identity(namespace, name);
    match args.forget_old {
        false => begin(name, identity, &place)?,
        true => {
            finish(identity, &place)?;
            if tls == Tls::Mutual {
                Authority::open(folder.root())?.issue(&place, &Holder::Client(name))?;
            }
        }
    }
    let keys = identity.keys.clone();
    folder.save(&roster)?;
    tell(folder, name, &keys, global);
    Ok(())
}

/// A second valid key, which nobody uses yet.
fn begin(name: &str, identity: &mut Identity, place: &Path) -> Result<(), Failure> {
    if identity.keys.len() >= MOST_KEYS {
        return Err(
            Failure::usage(format!("`{name}` has an old key that is still valid")).remedy(format!(
                "reload the servers, then end it with `mcpctl auth rotate {name} --forget-old`"
            )),
        );
    }
    secrets::make_folder(place)?;
    let key = secrets::make_key(&place.join(NEXT_SEED))?;
    identity.keys.insert(0, key);
    Ok(())
}

/// The new key is the only one.
fn finish(identity: &mut Identity, place: &Path) -> Result<(), Failure> {
    let key = secrets::take_next_key(place)?;
    match identity.keys.contains(&key) {
        true => identity.keys = vec![key],
        false => {
            let (seed, known) = (place.join(secrets::SEED), identity.keys.join(", "));
            return Err(Failure::usage(format!(
                "{} is the seed of none of its valid keys, {known}",
                seed.display()
            ))
            .remedy("take the identity's folder and auth.json back from the same backup"));
        }
    }
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
            let place = folder.identity(&global.namespace, name);
            output::line(format!(
                "`{name}` has one valid key, that in {}: give it to its processes, then reload",
                place.display()
            ));
            hints(&[reload]);
        }
        count => {
            output::line(format!(
                "`{name}` has {count} valid keys: the old one, which stays in use, and the new one"
            ));
            let forget = format!(
                "{} auth --dir {} rotate {name} --forget-old",
                program(),
                folder.root().display()
            );
            hints(&[reload, (forget, "then puts the new one into use")]);
        }
    }
}
