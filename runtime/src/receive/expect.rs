//! Before an instance says that it is ready: is there something to pull from, and may it? Asked only where an administrator
//! makes the consumers; else they have just been made.

use crate::{client::Client, error::ReceiveError, topology};

/// Looks for the consumers of a stream, and hears at once when the server refuses what the instance needs.
pub(super) async fn expect_consumers(
    client: &Client,
    stream: &str,
    names: &[String],
) -> Result<(), ReceiveError> {
    if client.may_create() {
        return Ok(());
    }
    let looking = topology::expect_consumers(client.jetstream(), stream, names);
    let looked = client.denials().unless_anything_is_refused(looking);
    Ok(looked.await??)
}
