//! Where operators come in: a TCP port, or a Unix socket that its file mode guards.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixSocket, UnixStream};
use tokio_util::either::Either;

use crate::config::Listen;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// Who may connect to the Unix socket: the user of the bridge and its group. There is nothing else to show.
const MODE: u32 = 0o660;

/// Is an address that the port listens on.
pub struct Door(Kind);

enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// Is a connection before anything was said on it.
pub(super) type Stream = Either<TcpStream, UnixStream>;

/// Is who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Peer {
    /// Another address.
    Tcp(SocketAddr),
    /// A user of this machine.
    Unix { uid: Option<u32> },
}

impl Peer {
    /// Returns where it is; `None` on this machine's socket.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip().to_canonical()),
            Self::Unix { .. } => None,
        }
    }
}

/// Says it as it follows a role: `operator at 10.0.0.7`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "at {}", address.ip().to_canonical()),
            Self::Unix { uid: Some(uid) } => write!(f, "with uid {uid}"),
            Self::Unix { uid: None } => f.write_str("on the socket"),
        }
    }
}

impl Door {
    /// Binds the address. A socket file that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// When somebody else listens there, or the system refuses.
    pub async fn bind(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => Ok(Self(Kind::Tcp(TcpListener::bind(address).await?))),
            Listen::Unix(path) => {
                let (listener, file) = bind_file(path)?;
                Ok(Self(Kind::Unix(listener, file)))
            }
        }
    }

    /// Returns where it listens, with the port that the system chose.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<Listen> {
        match &self.0 {
            Kind::Tcp(listener) => listener.local_addr().map(Listen::Tcp),
            Kind::Unix(_, file) => Ok(Listen::Unix(file.path.clone())),
        }
    }

    /// Tells whether whoever gets in has shown by that who they are.
    pub(super) fn is_guarded_by_file_mode(&self) -> bool {
        match &self.0 {
            Kind::Tcp(_) => false,
            Kind::Unix(..) => true,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.0 {
            Kind::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Either::Left(stream), Peer::Tcp(address)))
            }
            Kind::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
                Ok((Either::Right(stream), Peer::Unix { uid }))
            }
        }
    }
}

/// Is the file of a Unix socket; dropping it removes the file, if it is still ours.
struct SocketFile {
    path: PathBuf,
    /// Device and number of the file.
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // One that stays is replaced by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind_file(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    remove_dead(path)?;
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    let file = SocketFile { path: path.to_owned(), inode: inode(path)? };
    // Before it listens nobody can connect, whatever mode the file was made with.
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    Ok((socket.listen(BACKLOG)?, file))
}

/// Removes a socket that nobody listens on, and nothing else.
fn remove_dead(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of this name that is no socket"));
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn socket_is_for_user_and_group_and_gone_after_a_clean_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("admin.sock");
        let door = Door::bind(&Listen::Unix(path.clone())).await.expect("bound");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let _client = UnixStream::connect(&path).await.expect("it listens");
        let (_, peer) = door.accept().await.expect("a connection");
        let uid = fs::metadata(directory.path()).expect("there").uid();
        assert_eq!(peer.to_string(), format!("with uid {uid}"));
        drop(door);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn dead_socket_is_replaced_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let listen = Listen::Unix(directory.path().join("admin.sock"));
        let Listen::Unix(path) = &listen else { panic!("a path") };
        // As a process leaves it behind that was killed.
        drop(std::os::unix::net::UnixListener::bind(path).expect("bound"));
        let first = Door::bind(&listen).await.expect("the dead one is replaced");
        let error = Door::bind(&listen).await.err().expect("it lives");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        // Who finds another socket in its place at the end leaves it there.
        fs::remove_file(path).expect("removed");
        let second = Door::bind(&listen).await.expect("bound");
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notes.txt");
        fs::write(&path, "canary").expect("written");
        let error = Door::bind(&Listen::Unix(path.clone())).await.err().expect("no socket");
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("there"), "canary");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        assert!(Door::bind(&Listen::Unix(link)).await.is_err(), "a link is no socket");
    }

    #[test]
    fn peers_are_named_without_what_changes_from_one_connection_to_the_next() {
        let peer = |address: &str| Peer::Tcp(address.parse().expect("an address")).to_string();
        assert_eq!(peer("10.0.0.7:51342"), "at 10.0.0.7");
        assert_eq!(peer("[::ffff:10.0.0.7]:1"), "at 10.0.0.7");
        assert_eq!(Peer::Unix { uid: None }.to_string(), "on the socket");
    }
}
