//! The options that say where a secret token comes from. Never the token itself: arguments are for everybody to see.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use zeroize::Zeroizing;

use super::Failure;
use super::options::{BridgeArgs, SourceArgs};
use crate::config::Destination;
use crate::config::fetch::read_private;
use crate::config::secret::Secret;
use crate::wording::list;

/// Is read where no option says otherwise: the name from Zoom's own documents.
const VARIABLE: &str = "ZOOM_WEBHOOK_SECRET_TOKEN";

/// Is where the secret token comes from.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct SecretTokenArgs {
    /// Environment variable that holds the secret token [default: ZOOM_WEBHOOK_SECRET_TOKEN]
    #[arg(long, value_name = "NAME", conflicts_with = "secret_file")]
    secret_env: Option<String>,
    /// File that holds the secret token
    #[arg(long, value_name = "PATH")]
    secret_file: Option<PathBuf>,
    /// Destination of the configuration that is meant, with the secret token that is in force there
    #[arg(long, value_name = "NAME", conflicts_with_all = ["secret_env", "secret_file"])]
    destination: Option<String>,
    /// Configuration file with the destination [env: ZOOMHOOK_CONFIG] [default: ./zoomhook.toml, if there is one]
    #[arg(long, value_name = "PATH", requires = "destination")]
    config: Option<PathBuf>,
    /// Read more variables from a file of NAME='value' lines; those that are set already stay
    #[arg(long, value_name = "PATH", requires = "destination")]
    env_file: Option<PathBuf>,
}

impl SecretTokenArgs {
    /// Reads the destination that is meant, if one is.
    ///
    /// # Errors
    /// When the configuration is wrong, or has no such destination.
    pub(super) fn destination(&self) -> Result<Option<Destination>, Failure> {
        let Some(name) = &self.destination else { return Ok(None) };
        let (config, env_file) = (self.config.clone(), self.env_file.clone());
        let source = SourceArgs { config, env_file, ..SourceArgs::default() };
        let destinations = BridgeArgs { source, ..BridgeArgs::default() }.load()?.config.destinations;
        let names: Vec<String> = destinations.iter().map(|destination| destination.name.to_string()).collect();
        match destinations.into_iter().find(|destination| *destination.name == **name) {
            Some(destination) => Ok(Some(destination)),
            None => Err(Failure::usage(format!("--destination: expected {}", list(&names)))),
        }
    }

    /// Reads the secret token, without the end of its line.
    ///
    /// # Errors
    /// When it is not there, or empty. No message holds a word of it.
    pub(super) fn read(&self) -> Result<Secret, Failure> {
        let (place, text) = match &self.secret_file {
            Some(path) => {
                let bytes = read_private(path).map_err(|error| anyhow!("--secret-file: {error}"))?;
                (path.display().to_string(), std::str::from_utf8(&bytes).ok().map(|text| text.to_owned().into()))
            }
            None => {
                let name = self.secret_env.as_deref().unwrap_or(VARIABLE);
                let Some(value) = std::env::var_os(name) else {
                    let hint = "name another with --secret-env NAME, or a file with --secret-file PATH";
                    let name = name.escape_debug();
                    return Err(Failure::usage(format!("the environment variable {name} is not set: {hint}")));
                };
                (name.escape_debug().to_string(), value.into_string().ok().map(Zeroizing::new))
            }
        };
        let Some(text) = text else { return Err(anyhow!("the secret token in {place} is not text (UTF-8)").into()) };
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(anyhow!("the secret token in {place} is empty").into()),
            token => Ok(Secret::new(token)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn file_is_read_without_the_end_of_its_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        write_private(&path, b"s3cret \r\n");
        assert_eq!(of(&path).read().expect("a secret"), Secret::new("s3cret "));
    }

    #[test]
    fn secret_that_is_not_there_is_said_to_be_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        for (content, words) in
            [(None, "cannot be read"), (Some(&b"\n"[..]), "is empty"), (Some(b"canary\xff"), "UTF-8")]
        {
            if let Some(content) = content {
                write_private(&path, content);
            }
            let failure = of(&path).read().expect_err(words);
            assert!(matches!(failure, Failure::Runtime(_)), "the arguments were understood: {failure:?}");
            let text = failure.to_string();
            assert!(text.contains(words) && !text.contains("canary"), "{text}");
        }
        let secret_env = Some("ZOOMHOOK_NO_SUCH_VARIABLE".to_owned());
        let args = SecretTokenArgs { secret_env, ..SecretTokenArgs::default() };
        let text = format!("{:?}", args.read().expect_err("not set"));
        assert!(text.contains("ZOOMHOOK_NO_SUCH_VARIABLE is not set"), "{text}");
    }

    #[test]
    fn file_that_everybody_may_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        write_private(&path, b"canary");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
        let text = format!("{:?}", of(&path).read().expect_err("open to all"));
        assert!(text.contains("chmod 600") && !text.contains("canary"), "{text}");
    }

    fn write_private(path: &std::path::Path, content: &[u8]) {
        std::fs::write(path, content).expect("written");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("set");
    }

    fn of(path: &std::path::Path) -> SecretTokenArgs {
        SecretTokenArgs { secret_file: Some(path.to_owned()), ..SecretTokenArgs::default() }
    }
}
