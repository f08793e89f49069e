//! Who may connect: the limits on connections, in all and from one address.
//!
//! A place is a guard: it is given back when the connection's task ends, by return, panic or
//! abort.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::counters::{Counters, Refusal};

#[derive(Debug)]
pub(crate) struct Admission {
    max_connections: usize,
    max_connections_per_address: usize,
    counters: Arc<Counters>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    connections: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Admission {
    pub(crate) fn new(
        max_connections: usize,
        max_connections_per_address: usize,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        Arc::new(Self {
            max_connections,
            max_connections_per_address,
            counters,
            open: Mutex::default(),
        })
    }

    /// Takes a place for a connection from `address`.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Place, Refusal> {
        // An IPv4 client of a dual-stack listener is the same client as on an IPv4 listener.
        let address = address.to_canonical();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.connections >= self.max_connections {
            return Err(Refusal::TooManyConnections);
        }
        let of_address = open.by_address.entry(address).or_default();
        if *of_address >= self.max_connections_per_address {
            return Err(Refusal::TooManyFromAddress);
        }
        *of_address += 1;
        open.connections += 1;
        self.counters.open.set(open.connections);
        Ok(Place {
            admission: Arc::clone(self),
            address,
        })
    }
}

/// An admitted connection's place.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let admission = &self.admission;
        let mut open = admission
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.connections -= 1;
        admission.counters.open.set(open.connections);
        if let Entry::Occupied(mut of_address) = open.by_address.entry(self.address) {
            *of_address.get_mut() -= 1;
            if *of_address.get() == 0 {
                of_address.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn admission(total: usize, per_address: usize) -> Arc<Admission> {
        Admission::new(total, per_address, Arc::default())
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let admission = admission(3, 2);
        let _first = admission.admit(A).expect("free");
        let _second = admission.admit(A).expect("free");
        assert_eq!(
            admission.admit(A).expect_err("third from one address"),
            Refusal::TooManyFromAddress
        );
        let _other = admission.admit(B).expect("another address still gets in");
        assert_eq!(
            admission.admit(B).expect_err("fourth in all"),
            Refusal::TooManyConnections
        );
    }

    #[test]
    fn a_place_is_free_again_when_its_guard_goes() {
        let admission = admission(1, 1);
        drop(admission.admit(A).expect("free"));
        assert_eq!(admission.counters.open.get(), 0);
        drop(admission.admit(A).expect("free again"));
        assert!(
            admission
                .open
                .lock()
                .expect("not poisoned")
                .by_address
                .is_empty()
        );
    }

    #[test]
    fn a_mapped_address_counts_as_its_ipv4_self() {
        let admission = admission(9, 1);
        let _place = admission.admit(A).expect("free");
        let mapped = "::ffff:10.0.0.1".parse().expect("an address");
        assert_eq!(
            admission.admit(mapped).expect_err("same client"),
            Refusal::TooManyFromAddress
        );
    }
}
