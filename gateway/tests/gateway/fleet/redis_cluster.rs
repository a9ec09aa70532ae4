//! A real Redis Cluster of a test: three masters, each with a third of the slots.

use std::net::TcpListener;
use std::process::Child;

use redis::{Client, Connection};
use tempfile::TempDir;

use super::redis_server::launch;
use crate::gateway_process::eventually;

const SLOTS: [(&str, &str); 3] = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];

/// Nodes that die with the test.
pub(crate) struct RedisCluster {
    nodes: Vec<(u16, Child, TempDir)>,
}

impl RedisCluster {
    pub(crate) async fn start() -> Self {
        // All at once, so that no two are the same: each node has a second port for the others.
        let sockets: Vec<TcpListener> = (0..6)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let ports: Vec<u16> = sockets
            .iter()
            .map(|socket| socket.local_addr().unwrap().port())
            .collect();
        drop(sockets);
        let nodes = ports.chunks(2).map(|ports| {
            let directory = tempfile::tempdir().unwrap();
            let (port, bus) = (ports[0].to_string(), ports[1].to_string());
            let arguments = [
                "--port",
                &port,
                "--cluster-port",
                &bus,
                "--cluster-enabled",
                "yes",
                "--bind",
                "127.0.0.1",
            ];
            let child = launch(directory.path(), &arguments);
            (ports[0], child, directory)
        });
        let cluster = Self {
            nodes: nodes.collect(),
        };
        for (index, slots) in SLOTS.iter().enumerate() {
            eventually("a node answers", || async { cluster.try_connect(index).is_ok() }).await;
            cluster.tell(index, &["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]);
        }
        for other in ports.chunks(2).skip(1) {
            let (port, bus) = (other[0].to_string(), other[1].to_string());
            cluster.tell(0, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        for index in 0..SLOTS.len() {
            eventually("the node knows all slots", || async {
                let info: String = cluster.ask(index, &["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
            .await;
        }
        cluster
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|(port, ..)| format!("redis://127.0.0.1:{port}"))
            .collect()
    }

    pub(crate) fn kill(&mut self, index: usize) {
        let (_, child, _) = &mut self.nodes[index];
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn try_connect(&self, index: usize) -> redis::RedisResult<Connection> {
        Client::open(self.addresses()[index].as_str())?.get_connection()
    }

    fn tell(&self, index: usize, command: &[&str]) {
        let _: redis::Value = self.ask(index, command);
    }

    /// What one node answers.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, index: usize, command: &[&str]) -> T {
        let asked = redis::Cmd::new().arg(command).clone();
        asked.query(&mut self.try_connect(index).unwrap()).unwrap()
    }
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        for (_, child, _) in &mut self.nodes {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
