//! A real Redis Cluster of a test: three masters, each with a third of the slots, and replicas that take over.

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
        Self::with_replicas(0).await
    }

    /// With so many replicas; the first is of the first master, and so on.
    pub(crate) async fn with_replicas(replicas: usize) -> Self {
        let size = SLOTS.len() + replicas;
        // All at once, so that no two are the same: each node has a second port for the others.
        let sockets: Vec<TcpListener> = (0..2 * size)
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
                // A master that is silent for so long is replaced, in milliseconds.
                "--cluster-node-timeout",
                "1000",
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
        for index in SLOTS.len()..size {
            eventually("the node answers", || async {
                cluster.try_connect(index).is_ok()
            })
            .await;
        }
        let known = format!("cluster_known_nodes:{size}\r\n");
        for index in 0..size {
            eventually("the node knows all slots", || async {
                let info: String = cluster.ask(index, &["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains(&known)
            })
            .await;
        }
        for index in 0..replicas {
            let master: String = cluster.ask(index, &["CLUSTER", "MYID"]);
            cluster.tell(SLOTS.len() + index, &["CLUSTER", "REPLICATE", &master]);
        }
        for index in 0..replicas {
            eventually("the replica follows its master", || async {
                let info: String = cluster.ask(SLOTS.len() + index, &["INFO", "replication"]);
                info.contains("master_link_status:up")
            })
            .await;
        }
        cluster
    }

    /// Kills a master once its replica has all that it has, and waits until that has taken over.
    pub(crate) async fn fail_over(&mut self, index: usize) {
        let replica = SLOTS.len() + index;
        let reached = |replication: &str| {
            let mut fields = replication.lines().filter_map(|line| line.split_once(':'));
            let offset =
                fields.find(|(name, _)| *name == "master_repl_offset" || *name == "slave_repl_offset");
            offset.map(|(_, offset)| offset.trim().to_owned())
        };
        let replication = ["INFO", "replication"];
        eventually("the replica has all", || async {
            let (of_master, of_replica): (String, String) =
                (self.ask(index, &replication), self.ask(replica, &replication));
            reached(&of_master).is_some() && reached(&of_master) == reached(&of_replica)
        })
        .await;
        self.kill(index);
        eventually("the replica has taken over", || async {
            let replication: String = self.ask(replica, &replication);
            let info: String = self.ask(replica, &["CLUSTER", "INFO"]);
            replication.contains("role:master") && info.contains("cluster_state:ok")
        })
        .await;
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
