//! Single flight: of the same key, one command at a time is worked on in this process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

#[derive(Clone, Default)]
pub(crate) struct Flights {
    under_way: Arc<Mutex<HashMap<String, CancellationToken>>>,
}

/// Whether the key is ours to work on.
pub(crate) enum Boarding {
    Mine(Flight),
    /// Somebody in this process has it; the token fires when it is over.
    Wait(CancellationToken),
}

/// The lead on a key; dropping it lets the next one have it.
pub(crate) struct Flight {
    key: String,
    over: CancellationToken,
    flights: Flights,
}

impl Flights {
    pub(crate) fn board(&self, key: &str) -> Boarding {
        let mut under_way = self.table();
        if let Some(over) = under_way.get(key) {
            return Boarding::Wait(over.clone());
        }
        let over = CancellationToken::new();
        under_way.insert(key.to_owned(), over.clone());
        Boarding::Mine(Flight {
            key: key.to_owned(),
            over,
            flights: self.clone(),
        })
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.table().remove(&self.key);
        self.over.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_a_key() {
        let flights = Flights::default();
        let Boarding::Mine(flight) = flights.board("a") else {
            panic!("the key is free")
        };
        assert!(matches!(flights.board("b"), Boarding::Mine(_)));
        let Boarding::Wait(over) = flights.board("a") else {
            panic!("the key is taken")
        };
        assert!(!over.is_cancelled());
        drop(flight);
        assert!(over.is_cancelled());
        assert!(matches!(flights.board("a"), Boarding::Mine(_)));
    }
}
