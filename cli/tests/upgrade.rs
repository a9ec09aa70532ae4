//! `portico gateway upgrade` on real processes (EDG-16, ADR 0027): nothing is refused, and what fails changes nothing.

#![cfg(test)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::task::JoinSet;
use trial::edge::{Door, Gateway, HOST, Load, Place, Site, Sockets, Upstream, eventually};

const PORTICO: &str = env!("CARGO_BIN_EXE_portico");

/// A gateway with everything around it, started by a path at which another program can be put.
struct Stage {
    upstream: Upstream,
    site: Site,
    program: PathBuf,
    gateway: Gateway,
}

impl Stage {
    async fn start() -> Self {
        Self::with("", &[]).await
    }

    async fn with(more: &str, wrapper: &[String]) -> Self {
        let upstream = Upstream::start().await.unwrap();
        let site = Site::new(upstream.address()).unwrap();
        let program = site.path("portico");
        std::os::unix::fs::symlink(PORTICO, &program).unwrap();
        let place = Place {
            more: more.to_owned(),
            ..Place::anywhere("gateway")
        };
        let gateway = Gateway::start(&site, &place, &program, wrapper).await.unwrap();
        // It serves before it can be asked to hand over.
        eventually("it can be asked", async || {
            site.path("gateway/upgrade.sock").exists()
        })
        .await
        .unwrap();
        Self {
            upstream,
            site,
            program,
            gateway,
        }
    }

    fn door(&self) -> Door {
        Door::new(
            vec![self.gateway.https().unwrap()],
            self.site.client_config().unwrap(),
        )
    }

    /// Puts a program in the place of the gateway's.
    fn install(&self, script: &str) {
        let draft = self.site.path("script");
        std::fs::write(&draft, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&draft, Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(draft, &self.program).unwrap();
    }

    async fn get(&self) -> u16 {
        let mut connection = self.door().connect(0).await.unwrap();
        connection.get("/fast").await.unwrap().status
    }

    /// The command as an operator gives it; by then the gateway's own program may be another one.
    fn upgrade(&self) -> Command {
        let mut command = Command::new(PORTICO);
        command
            .args(["gateway", "upgrade", "--settings"])
            .arg(self.site.path("gateway.yaml"))
            .env("APP_ENV", "test");
        command
    }

    /// Upgrades to a new process that fails; what the command says of it.
    async fn fail_to_upgrade(&self) -> String {
        let before = self.gateway.pid().unwrap();
        let mut command = self.upgrade();
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output.unwrap().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(self.gateway.pid().unwrap(), before, "the old process serves");
        assert_eq!(self.get().await, 200);
        said
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_under_load_refuse_and_cut_nothing() {
    let mut stage = Stage::start().await;
    let door = stage.door();
    let sockets = Sockets::open(&door, "/live", 5).await;
    let load = Load::start(&door, "/fast", 100, 8);
    let mut held = door.connect(0).await.unwrap();
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { held.get("/held").await });
    eventually("a request is under way", async || stage.upstream.held() == 1)
        .await
        .unwrap();

    let ca = std::fs::read(stage.site.path("ca.pem")).unwrap();
    let address = stage.gateway.https().unwrap();
    // Each has a connection of its own: what a client does with one that says GOAWAY is not ours.
    let http2 = |path: &str| {
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()])
            .resolve(HOST, address)
            .timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        client.get(format!("https://{HOST}:{}{path}", address.port()))
    };
    let mut multiplexed = JoinSet::new();
    multiplexed.spawn(http2("/held").send());
    eventually("two are", async || stage.upstream.held() == 2)
        .await
        .unwrap();

    let mut pids = vec![stage.gateway.pid().unwrap()];
    for _ in 0..3 {
        let (code, said) = stage.gateway.upgrade().await.unwrap();
        assert_eq!(code, Some(0), "{said}");
        let pid = stage.gateway.pid().unwrap();
        assert!(
            said.contains(&format!("process {} serves now", pid.as_raw_nonzero())),
            "{said}"
        );
        assert!(!pids.contains(&pid));
        pids.push(pid);
    }
    assert!(
        waiting.try_join_next().is_none(),
        "the first process still has it"
    );
    assert!(Gateway::is_running(pids[0]));
    assert_eq!(http2("/fast").send().await.unwrap().status(), 200);
    stage.upstream.release(2);
    let answered = multiplexed.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(
        (answered.status().as_u16(), answered.version()),
        (200, reqwest::Version::HTTP_2)
    );
    let answer = waiting.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!((answer.status, answer.closes), (200, true));

    let (tally, sockets) = (load.stop().await, sockets.stop().await);
    assert_eq!(
        (tally.failures(), sockets.failures()),
        (0, 0),
        "{tally}\n{sockets}"
    );
    assert!(
        tally.answered > 0 && sockets.closed.is_empty(),
        "sockets live on: {sockets}"
    );
    assert!(
        tally.reopened >= 8,
        "connections move to the new process: {tally}"
    );

    stage.gateway.signal(rustix::process::Signal::TERM).unwrap();
    stage.gateway.ended().await.unwrap();
}

/// The control of the test above: the same load sees a process that is killed instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_instead_is_seen_by_the_same_clients() {
    let stage = Stage::start().await;
    let door = stage.door();
    let sockets = Sockets::open(&door, "/live", 5).await;
    let load = Load::start(&door, "/fast", 100, 8);
    let mut broken = door.connect(0).await.unwrap();
    assert!(broken.get("/broken").await.is_err(), "half an answer is none");
    let mut held = door.connect(0).await.unwrap();
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { held.get("/held").await });
    eventually("a request is under way", async || stage.upstream.held() == 1)
        .await
        .unwrap();

    stage.gateway.signal(rustix::process::Signal::KILL).unwrap();
    assert!(waiting.join_next().await.unwrap().unwrap().is_err());
    let door = stage.door();
    eventually("nobody listens", async || door.connect(0).await.is_err())
        .await
        .unwrap();
    // Every client has a request due within 80 ms.
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..3 {
        ticks.tick().await;
    }
    let (tally, sockets) = (load.stop().await, sockets.stop().await);
    assert!(tally.failures() > 0, "{tally}");
    assert!(sockets.failures() > 0, "{sockets}");
}

#[tokio::test]
async fn sockets_that_outlive_the_drain_are_asked_to_come_back() {
    let mut stage = Stage::with("upgrade: { drain_ms: 200 }\n", &[]).await;
    let old = stage.gateway.pid().unwrap();
    let mut socket = stage
        .door()
        .connect(0)
        .await
        .unwrap()
        .upgrade("/live")
        .await
        .unwrap();
    socket.send("before").await.unwrap();
    assert_eq!(socket.receive().await.unwrap(), (1, b"before".to_vec()));

    assert_eq!(stage.gateway.upgrade().await.unwrap().0, Some(0));
    let (opcode, payload) = socket.receive().await.unwrap();
    assert_eq!((opcode, &payload[..2]), (8, &1012_u16.to_be_bytes()[..]));
    eventually("the old process has ended", async || !Gateway::is_running(old))
        .await
        .unwrap();
    assert_eq!(stage.get().await, 200);
}

#[tokio::test]
async fn a_new_process_that_does_not_start_changes_nothing() {
    let mut stage = Stage::start().await;
    let certificate = stage.site.path("tls/gateway.pem");
    std::fs::rename(&certificate, stage.site.path("away")).unwrap();
    let said = stage.fail_to_upgrade().await;
    assert!(said.contains("the new process does not start: "), "{said}");
    assert!(said.contains("gateway.pem"), "{said}");

    stage.install("exit 3");
    let said = stage.fail_to_upgrade().await;
    assert!(
        said.contains("ended before it was ready (exit status: 3)"),
        "{said}"
    );

    std::fs::remove_file(&stage.program).unwrap();
    let said = stage.fail_to_upgrade().await;
    assert!(said.contains("cannot start"), "{said}");

    std::fs::rename(stage.site.path("away"), &certificate).unwrap();
    std::os::unix::fs::symlink(PORTICO, &stage.program).unwrap();
    let (code, said) = stage.gateway.upgrade().await.unwrap();
    assert_eq!(code, Some(0), "after a failure the next attempt succeeds: {said}");
}

#[tokio::test]
async fn a_new_process_that_is_late_is_ended() {
    let stage = Stage::with("upgrade: { ready_within_ms: 300 }\n", &[]).await;
    let pid_file = stage.site.path("pid");
    stage.install(&format!("echo $$ > {}\nexec sleep 600", pid_file.display()));
    let said = stage.fail_to_upgrade().await;
    assert!(said.contains("not ready after 300 ms"), "{said}");
    assert!(!Gateway::is_running(pid_in(&pid_file)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_upgrade_runs_at_a_time_and_one_that_is_killed_half_way_changes_nothing() {
    let stage = Stage::start().await;
    let pid_file = stage.site.path("pid");
    stage.install(&format!("echo $$ > {}\nexec sleep 600", pid_file.display()));
    let mut first = stage
        .upgrade()
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the new process runs", async || {
        std::fs::read_to_string(&pid_file).is_ok_and(|text| text.ends_with('\n'))
    })
    .await
    .unwrap();
    let said = stage.fail_to_upgrade().await;
    assert!(said.contains("an upgrade is under way already"), "{said}");

    rustix::process::kill_process(pid_in(&pid_file), rustix::process::Signal::KILL).unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(1));
    assert_eq!(stage.get().await, 200);
}

#[tokio::test]
async fn a_new_process_waits_until_it_is_ready_and_ends_with_the_old_one() {
    let policy = include_str!("upgrade/unready.yaml");
    let site = Site::with_policy(policy).unwrap();
    let place = Place {
        more: format!(
            "socket_dir: {}\nupgrade: {{ ready_within_ms: 1500 }}\n",
            site.path("").display()
        ),
        ..Place::anywhere("gateway")
    };
    let gateway = Gateway::start(&site, &place, Path::new(PORTICO), &[])
        .await
        .unwrap();
    let asked = |more: &str| {
        site.write(
            "gateway.yaml",
            &(std::fs::read_to_string(site.path("gateway.yaml")).unwrap() + more),
        )
        .unwrap();
        let mut command = Command::new(PORTICO);
        command
            .args(["gateway", "upgrade", "--settings"])
            .arg(site.path("gateway.yaml"));
        command.env("APP_ENV", "test");
        command
    };
    let output = asked("").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("not ready after 1500 ms: upstreams: core: "),
        "{said}"
    );

    // Killed while the new process waits: that ends too, so that whoever watches over both can start anew.
    let mut command = asked("").stderr(std::process::Stdio::piped()).spawn().unwrap();
    let old = gateway.pid().unwrap();
    let mut new = None;
    eventually("the new process runs", async || {
        new = children(old).into_iter().next();
        new.is_some()
    })
    .await
    .unwrap();
    gateway.signal(rustix::process::Signal::KILL).unwrap();
    assert_eq!(command.wait().unwrap().code(), Some(1));
    eventually("the new process has ended", async || {
        !Gateway::is_running(new.unwrap())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn only_its_user_and_root_may_upgrade_a_gateway() {
    if !rustix::process::geteuid().is_root() {
        skips::skip("only root can ask as another user");
        return;
    }
    let stage = Stage::start().await;
    let socket = stage.site.path("gateway/upgrade.sock");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));

    // Whatever the modes say, the kernel says who asks.
    let program = stage.site.path("copy");
    std::fs::hard_link(PORTICO, &program)
        .or_else(|_| std::fs::copy(PORTICO, &program).map(drop))
        .unwrap();
    for path in [stage.site.path(""), stage.site.path("gateway")] {
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    for path in [&socket, &stage.site.path("gateway.yaml"), &program] {
        std::fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    }
    let output = Command::new(&program)
        .args(["gateway", "upgrade", "--settings"])
        .arg(stage.site.path("gateway.yaml"))
        .env("APP_ENV", "test")
        .current_dir("/")
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("user 65534 may not upgrade the gateway of user 0"),
        "{said}"
    );
    assert_eq!(stage.get().await, 200);
}

#[tokio::test]
async fn the_service_manager_learns_which_process_to_watch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let told = || {
        let mut text = [0; 100];
        let length = manager.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    let wrapper = ["env".to_owned(), format!("NOTIFY_SOCKET={}", path.display())];
    let mut stage = Stage::with("", &wrapper).await;
    assert_eq!(told(), "READY=1");
    assert_eq!(stage.gateway.upgrade().await.unwrap().0, Some(0));
    let pid = stage.gateway.pid().unwrap().as_raw_nonzero();
    let mut said = [told(), told()];
    said.sort();
    assert_eq!(said, [format!("MAINPID={pid}"), "READY=1".to_owned()]);
}

#[test]
fn without_a_gateway_the_command_says_where_it_asked() {
    let site = Site::with_policy("").unwrap();
    let settings = site.write_settings(&Place::anywhere("gateway")).unwrap();
    let output = Command::new(PORTICO)
        .args(["gateway", "upgrade", "--settings"])
        .arg(settings)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("no gateway that could be upgraded answers at"),
        "{said}"
    );
    assert!(said.contains("gateway/upgrade.sock"), "{said}");
}

fn pid_in(file: &Path) -> rustix::process::Pid {
    let text = std::fs::read_to_string(file).unwrap();
    rustix::process::Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

/// The processes that this one has started.
fn children(parent: rustix::process::Pid) -> Vec<rustix::process::Pid> {
    let pid = parent.as_raw_nonzero();
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
    {
        let text = std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        found.extend(
            text.split_whitespace()
                .filter_map(|id| rustix::process::Pid::from_raw(id.parse().ok()?)),
        );
    }
    found
}
