//! The program in a root that holds itself, the C library and nothing else: no certificates, no resolver, no home, no
//! directory for temporary files, no shell.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use zoomhook::simulator::{Options, Transport};

use crate::front::{Clients, Front};
use crate::lab::{Bridge, Lab, body};
use crate::prometheus::missing;
use crate::readme::root;

const DOCKERFILE: &str = "deploy/docker/Dockerfile";
const UNIT: &str = "deploy/systemd/zoomhook.service";
const PROGRAM: &str = "/usr/local/bin/zoomhook";
/// Libraries that an image of distroless/cc holds, by their names on any architecture: those of glibc and of GCC.
const OF_THE_BASE: [&str; 7] = ["libc", "libm", "libgcc_s", "libpthread", "libdl", "librt", "ld-linux"];

#[test]
fn program_is_linked_to_what_the_base_of_the_image_has() {
    let libraries = libraries();
    assert!(!libraries.is_empty(), "it is linked to the C library");
    for library in libraries {
        let name = library.file_name().and_then(|name| name.to_str()).expect("text");
        let stem = name.split(".so").next().unwrap_or_default();
        assert!(OF_THE_BASE.iter().any(|known| stem == *known || stem.starts_with("ld-linux")), "{name}");
    }
    // A program asks for a C library as new as the one that it was linked to: both stages are of one release of Debian.
    let dockerfile = read(DOCKERFILE);
    let arg = |name: &str| {
        dockerfile.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}")).to_owned()
    };
    let releases = [("bookworm", "debian12"), ("trixie", "debian13")];
    let (build, base) = (arg("ARG RUST="), arg("ARG BASE="));
    assert!(releases.iter().any(|(name, number)| build.ends_with(name) && base.contains(number)), "{build} {base}");
}

#[test]
fn paths_of_image_and_unit_are_one_and_the_same() {
    let (dockerfile, unit) = (read(DOCKERFILE), read(UNIT));
    assert!(dockerfile.contains("ENV ZOOMHOOK_SPOOL=/var/lib/zoomhook/zoomhook.db"));
    // The unit runs with the installed file, where a command finds the spool too.
    assert!(read("deploy/zoomhook.toml").contains("\npath = \"/var/lib/zoomhook/zoomhook.db\""));
    assert!(unit.contains("WorkingDirectory=/var/lib/zoomhook\n"));
    let place = |line: &str| dockerfile.find(&format!("\n{line}\n")).unwrap_or_else(|| panic!("{line}"));
    for line in [
        "VOLUME /var/lib/zoomhook",
        "RUN mkdir -m 0755 /configuration /configuration/zoomhook /state && mkdir -m 0700 /state/zoomhook",
        "COPY --from=build --chown=65532:65532 /state /var/lib",
    ] {
        place(line);
    }
    // Whose directory it would be that is not there yet is for the builder to say.
    assert!(place("COPY --from=build /configuration /etc") < place("WORKDIR /etc/zoomhook"));
    assert!(dockerfile.contains(&format!("ENTRYPOINT [{PROGRAM:?}]")));
    assert!(unit.contains(&format!("ExecStart={PROGRAM} run --config /etc/zoomhook/zoomhook.toml\n")));
    for line in ["StateDirectory=zoomhook\n", "StateDirectoryMode=0700\n"] {
        assert!(unit.contains(line), "{line}");
    }
    // The file that the image looks for beside it is the one of the unit.
    assert!(
        read("deploy/docker/Dockerfile")
            .contains("COPY --from=build /source/target/release/zoomhook /usr/local/bin/zoomhook")
    );
}

#[tokio::test]
async fn program_lives_in_a_root_with_nothing_but_itself_and_the_c_library() {
    for transport in [Transport::Plain, Transport::Tls] {
        let mut lab = Lab::with(&["crm"], Options { transport, ..Options::default() }).await;
        let image = lab.directory.path().join("image");
        let configuration = image.join("etc/zoomhook");
        fs::create_dir_all(&configuration).expect("made");
        let front = Front::before(&lab, Clients::Anybody).await;
        if transport == Transport::Tls {
            let file = |name: &str| format!("ca_file = \"/etc/zoomhook/{name}\"\n");
            fs::write(configuration.join("zoom.pem"), lab.zoom.authority().expect("it is encrypted")).expect("written");
            lab.subscription_lines = file("zoom.pem");
            front.configure(&mut lab, "");
            fs::copy(lab.directory.path().join("handler.pem"), configuration.join("handler.pem")).expect("copied");
            lab.destination_lines = file("handler.pem");
            front.write(&lab);
        } else {
            lab.write_configuration(&["crm"]);
        }
        let text = fs::read_to_string(lab.file()).expect("written");
        let spool = format!("path = \"{}\"\n", lab.spool().display());
        assert!(text.contains(&spool), "{text}");
        // The spool is where the image has it, and the file is found where the image looks for it.
        fs::write(configuration.join("zoomhook.toml"), text.replace(&spool, "")).expect("written");
        build(&image);
        let Some(command) = inside(&image, &lab.command(&["run"])) else { return };
        let bridge = Bridge::start(command).await;
        bridge.until_ready().await;
        lab.zoom.push(&body(1)).await;
        lab.handler("crm").has_taken(1).await;
        let (code, events) = bridge.get("/api/v1/events").await;
        assert!(code == 200 && events.contains("meeting.started"), "{events}");
        let log = bridge.stop().await;
        let bad = log.lines().find(|line| line.contains("\"ERROR\"") || line.contains("No such file"));
        assert!(bad.is_none(), "{bad:?}");
        let kept = fs::metadata(image.join("var/lib/zoomhook/zoomhook.db")).expect("the spool");
        assert_eq!(kept.permissions().mode() & 0o777, 0o600);
        // It left nothing anywhere else.
        let top: BTreeSet<String> = fs::read_dir(&image)
            .expect("a folder")
            .map(|it| it.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        let extra: Vec<&String> =
            top.iter().filter(|name| !["etc", "lib", "lib64", "usr", "var"].contains(&name.as_str())).collect();
        assert!(extra.is_empty(), "{extra:?}");
    }
}

/// Puts the program, what it is linked to, and the spool directory into a root.
fn build(image: &Path) {
    let program = image.join(&PROGRAM[1..]);
    fs::create_dir_all(program.parent().expect("a folder")).expect("made");
    fs::copy(env!("CARGO_BIN_EXE_zoomhook"), &program).expect("copied");
    for library in libraries() {
        let place = image.join(library.strip_prefix("/").expect("an absolute path"));
        fs::create_dir_all(place.parent().expect("a folder")).expect("made");
        fs::copy(&library, &place).expect("copied");
    }
    let spool = image.join("var/lib/zoomhook");
    fs::create_dir_all(&spool).expect("made");
    fs::set_permissions(&spool, fs::Permissions::from_mode(0o700)).expect("ours");
    if is_root() {
        chown(&spool, Some(user()), Some(user())).expect("root may");
    }
}

/// Runs the command of the image as its user, with the environment of the image and the secrets of `command`. Where
/// that cannot be done, the test that calls is skipped with a word, and fails where `CI` is set.
fn inside(image: &Path, command: &tokio::process::Command) -> Option<tokio::process::Command> {
    let dockerfile = read(DOCKERFILE);
    let line =
        |word: &str| dockerfile.lines().rev().find_map(|line| line.strip_prefix(word)).expect("a line").to_owned();
    let words = |text: &str| serde_json::from_str::<Vec<String>>(text).expect("a list of words");
    let user = user().to_string();
    let as_user: Vec<&str> =
        if is_root() { vec!["--setgid", &user, "--setuid", &user] } else { vec!["--user", "--map-root-user"] };
    let try_it = Command::new("unshare").args(&as_user).args(["--root", "/", "--wd", "/", "--", "/bin/true"]).output();
    match try_it {
        Ok(tried) if tried.status.success() => {}
        Ok(tried) => {
            let said = String::from_utf8_lossy(&tried.stderr).into_owned();
            return missing("unshare (of users)", &std::io::Error::other(said));
        }
        Err(error) => return missing("unshare", &error),
    }
    let mut inside = tokio::process::Command::new("unshare");
    inside.args(&as_user).arg("--root").arg(image).args(["--wd", &line("WORKDIR ")]).arg("--");
    inside.args(words(&line("ENTRYPOINT "))).args(words(&line("CMD "))).env_clear().kill_on_drop(true);
    let variables = line("ENV ");
    inside.envs(variables.split_whitespace().filter_map(|it| it.split_once('=')));
    inside.envs(command.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(inside)
}

/// Returns the shared libraries that the program is linked to, and the loader, as they are found here.
fn libraries() -> Vec<PathBuf> {
    let said = Command::new("ldd").arg(env!("CARGO_BIN_EXE_zoomhook")).output().expect("ldd comes with the C library");
    let text = String::from_utf8(said.stdout).expect("text");
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    text.lines().filter_map(path).collect()
}

/// Returns the user of the image.
fn user() -> u32 {
    let dockerfile = read(DOCKERFILE);
    let user = dockerfile.lines().find_map(|line| line.strip_prefix("USER ")).expect("a user");
    user.split(':').next().and_then(|id| id.parse().ok()).expect("a number")
}

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("a process").uid() == 0
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).expect("readable")
}
