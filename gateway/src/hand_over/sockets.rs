//! The listening sockets of this process, and how they pass to another one (SCM_RIGHTS, unix(7)).

use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// Of the whole conversation between the two processes. Another one is refused, and the old process keeps serving.
const VERSION: u32 = 1;
/// A list of sockets is not larger than this, in bytes.
const MOST_LIST: u32 = 256 * 1024;

/// What comes first: the name of each socket that follows, in their order.
#[derive(Debug, Serialize, Deserialize)]
struct List {
    version: u32,
    sockets: Vec<String>,
}

/// Listening sockets by name, as another process handed them over.
pub(crate) type Inherited = BTreeMap<String, Vec<TcpListener>>;

/// A second descriptor of every listening socket, for the process that comes after this one.
#[derive(Debug, Default)]
pub(crate) struct Sockets(Mutex<Vec<(String, OwnedFd)>>);

impl Sockets {
    /// Keeps a descriptor of a listening socket.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(crate) fn keep(&self, name: &str, socket: &impl AsFd) -> anyhow::Result<()> {
        let second = socket.as_fd().try_clone_to_owned()?;
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.push((name.to_owned(), second));
        Ok(())
    }

    /// Closes the descriptors: a socket that one of them held open would still take connections.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Sends all of them.
    ///
    /// # Errors
    /// When the other process is gone, or takes nothing.
    pub(super) fn send(&self, channel: &UnixStream) -> anyhow::Result<()> {
        let sockets: Vec<(String, OwnedFd)> = {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let copies = kept
                .iter()
                .map(|(name, socket)| Ok((name.clone(), socket.try_clone()?)));
            copies.collect::<std::io::Result<_>>()?
        };
        let list = serde_json::to_vec(&List {
            version: VERSION,
            sockets: sockets.iter().map(|(name, _)| name.clone()).collect(),
        })?;
        let mut channel = channel;
        channel.write_all(&u32::try_from(list.len())?.to_be_bytes())?;
        channel.write_all(&list)?;
        for (_, socket) in &sockets {
            let rights = [socket.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&rights));
            // A descriptor travels with at least one byte.
            sendmsg(channel, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
        }
        Ok(())
    }
}

/// Takes what [`Sockets::send`] sends.
///
/// # Errors
/// When the other end is no gateway of this version, or is gone.
pub(super) fn receive(channel: &UnixStream) -> anyhow::Result<Inherited> {
    let mut length = [0; 4];
    let mut reader = channel;
    reader.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MOST_LIST {
        bail!("the list of sockets is {length} bytes long");
    }
    let mut list = vec![0; usize::try_from(length)?];
    reader.read_exact(&mut list)?;
    let list: List = serde_json::from_slice(&list)?;
    if list.version != VERSION {
        bail!(
            "the running gateway speaks version {} of the hand-over, this one version {VERSION}: restart instead",
            list.version
        );
    }
    let mut inherited = Inherited::new();
    for name in list.sockets {
        let socket = receive_one(channel).with_context(|| format!("socket {name}"))?;
        inherited.entry(name).or_default().push(TcpListener::from(socket));
    }
    Ok(inherited)
}

fn receive_one(channel: &UnixStream) -> anyhow::Result<OwnedFd> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(
        channel,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let rights = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    rights.context("no descriptor came")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_keep_their_names_and_take_connections_in_the_other_process() {
        let sockets = Sockets::default();
        let (public, private) = (
            TcpListener::bind("127.0.0.1:0").unwrap(),
            TcpListener::bind("127.0.0.1:0").unwrap(),
        );
        sockets.keep("public.https", &public).unwrap();
        sockets.keep("private", &private).unwrap();
        let address = public.local_addr().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        sockets.send(&ours).unwrap();
        sockets.forget();
        drop((public, private));

        let inherited = receive(&theirs).unwrap();
        assert_eq!(inherited.keys().collect::<Vec<_>>(), ["private", "public.https"]);
        let client = std::net::TcpStream::connect(address).unwrap();
        let (accepted, _) = inherited["public.https"][0].accept().unwrap();
        assert_eq!(accepted.peer_addr().unwrap(), client.local_addr().unwrap());
    }

    #[test]
    fn another_version_and_another_speaker_are_refused() {
        let told = |bytes: &[u8]| {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(bytes).unwrap();
            drop(ours);
            format!("{:#}", receive(&theirs).unwrap_err())
        };
        let list = br#"{"version":2,"sockets":[]}"#;
        let length = u32::try_from(list.len()).unwrap().to_be_bytes();
        assert!(told(&[&length[..], list].concat()).contains("version 2"));
        assert!(told(b"GET / HTTP/1.1\r\n\r\n").contains("bytes long"));
        assert!(told(b"").contains("failed to fill"));
        let list = br#"{"version":1,"sockets":["a"]}"#;
        let length = u32::try_from(list.len()).unwrap().to_be_bytes();
        assert!(told(&[&length[..], list, b"x"].concat()).contains("no descriptor came"));
    }
}
