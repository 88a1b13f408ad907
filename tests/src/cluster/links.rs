//! The links of servers: from clients to each, and from each to each other, every one a proxy of its own.
//!
//! Servers tell each other and their clients where the others are; what they tell leads into these links too, so
//! nothing finds a way around a partition.

use std::net::{Ipv4Addr, SocketAddr};

use crate::proxy::{Link, Weather};

/// All links between so many servers and their clients.
#[derive(Debug)]
pub(super) struct Links {
    clients: Vec<Link>,
    /// `routes[from][to]`; none to itself.
    routes: Vec<Vec<Option<Link>>>,
}

impl Links {
    /// To the servers that listen, or will, on these ports.
    pub(super) async fn to(clients: &[u16], routes: &[u16]) -> Self {
        let mut links = Self {
            clients: Vec::new(),
            routes: Vec::new(),
        };
        for port in clients {
            links.clients.push(link(*port).await);
        }
        for from in 0..routes.len() {
            let mut row = Vec::new();
            for (to, port) in routes.iter().enumerate() {
                row.push(if from == to {
                    None
                } else {
                    Some(link(*port).await)
                });
            }
            links.routes.push(row);
        }
        links
    }

    /// Where clients connect to a server.
    pub(super) fn client_port(&self, at: usize) -> u16 {
        self.clients[at].port()
    }

    /// Where a server connects to the others.
    pub(super) fn route_ports(&self, from: usize) -> Vec<u16> {
        self.routes[from].iter().flatten().map(Link::port).collect()
    }

    /// Between a server and all others, both ways.
    pub(super) fn around(&self, at: usize, weather: Weather) {
        for (from, row) in self.routes.iter().enumerate() {
            for (to, link) in row.iter().enumerate() {
                if let Some(link) = link.as_ref().filter(|_| from == at || to == at) {
                    link.turns(weather);
                }
            }
        }
    }

    /// Between clients and a server.
    pub(super) fn clients(&self, at: usize, weather: Weather) {
        self.clients[at].turns(weather);
    }
}

async fn link(port: u16) -> Link {
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Link::to(target).await.expect("a port is free")
}
