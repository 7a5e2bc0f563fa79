//! Raw options → checked configuration. Flags > `SWARMNET_*` > file > defaults.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::cli::{AttachMode, DaemonArgs, LogFormat};

const DEFAULT_FILE: &str = "/etc/swarmnet/swarmnet.toml";
const DEFAULT_SOCKET: &str = "/run/swarmnet/docker.sock";
const DEFAULT_ENGINE: &str = "unix:///var/run/docker.sock";
const DEFAULT_STATE_DIR: &str = "/var/lib/swarmnet";
const DEFAULT_PLUGIN_SOCKET: &str = "/run/docker/plugins/swarmnet.sock";
const DEFAULT_BPFFS: &str = "/sys/fs/bpf";
/// openraft tells every step at `info`; what matters of it is logged by `manager::raft`.
const DEFAULT_LOG: &str = "info,openraft=warn";

/// Keys of the file; the flags without dashes in front.
const KEYS: [&str; 8] =
    ["socket", "engine", "state-dir", "plugin-socket", "bpffs", "attach-mode", "log", "log-format"];

/// Everything the daemon needs to know, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) socket: PathBuf,
    /// Path of the engine's socket.
    pub(crate) engine: PathBuf,
    pub(crate) state_dir: PathBuf,
    pub(crate) plugin_socket: PathBuf,
    pub(crate) bpffs: PathBuf,
    pub(crate) attach_mode: AttachMode,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
}

/// Why the options are no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("reading {path}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path} is not TOML")]
    NotToml { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{path}: unknown key `{key}`{suggestion}")]
    UnknownKey { path: PathBuf, key: String, suggestion: String },
    #[error("{path}: `{key}` must be a text, such as {key} = \"…\"")]
    NotText { path: PathBuf, key: String },
    #[error("`{value}` is not a value of {key}: use one of {choices}")]
    NoChoice { key: &'static str, value: String, choices: String },
    #[error("{key} must be an absolute path, not `{value}`")]
    Relative { key: &'static str, value: String },
    #[error(
        "engine `{value}`: only a unix socket on this machine can be used, such as \
         unix:///var/run/docker.sock"
    )]
    NoUnixSocket { value: String },
}

impl Config {
    /// Completes the flags (and environment, which clap has merged) by the file and the defaults.
    ///
    /// # Errors
    /// `ConfigError` names the key.
    pub(crate) fn load(args: &DaemonArgs) -> Result<Self, ConfigError> {
        Self::merge(args, &read_file(args.config.as_deref())?)
    }

    fn merge(args: &DaemonArgs, file: &FileOptions) -> Result<Self, ConfigError> {
        let text = |flag: &Option<String>, key: &str, default: &str| {
            flag.clone().or_else(|| file.get(key)).unwrap_or_else(|| default.to_owned())
        };
        Ok(Self {
            socket: absolute("socket", &text(&args.socket, "socket", DEFAULT_SOCKET))?,
            engine: engine_socket(&text(&args.engine, "engine", DEFAULT_ENGINE))?,
            state_dir: absolute(
                "state-dir",
                &text(&args.state_dir, "state-dir", DEFAULT_STATE_DIR),
            )?,
            plugin_socket: absolute(
                "plugin-socket",
                &text(&args.plugin_socket, "plugin-socket", DEFAULT_PLUGIN_SOCKET),
            )?,
            bpffs: absolute("bpffs", &text(&args.bpffs, "bpffs", DEFAULT_BPFFS))?,
            attach_mode: choice("attach-mode", args.attach_mode, file, AttachMode::Auto)?,
            log: text(&args.log, "log", DEFAULT_LOG),
            log_format: choice("log-format", args.log_format, file, LogFormat::Text)?,
        })
    }
}

/// The file's keys with their texts, all of them known.
#[derive(Debug, Default)]
struct FileOptions(Vec<(String, String)>);

impl FileOptions {
    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let table: toml::Table = text.parse().map_err(|source| ConfigError::NotToml {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let entries = table.into_iter().map(|(key, value)| {
            if !KEYS.contains(&key.as_str()) {
                let suggestion = suggestion(&key);
                return Err(ConfigError::UnknownKey { path: path.to_owned(), key, suggestion });
            }
            match value {
                toml::Value::String(text) => Ok((key, text)),
                toml::Value::Integer(_)
                | toml::Value::Float(_)
                | toml::Value::Boolean(_)
                | toml::Value::Datetime(_)
                | toml::Value::Array(_)
                | toml::Value::Table(_) => Err(ConfigError::NotText { path: path.to_owned(), key }),
            }
        });
        Ok(Self(entries.collect::<Result<_, _>>()?))
    }

    fn get(&self, key: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, text)| text.clone())
    }
}

/// Reads the file; only one that the user named must exist.
fn read_file(named: Option<&Path>) -> Result<FileOptions, ConfigError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    match fs::read_to_string(path) {
        Ok(text) => FileOptions::parse(path, &text),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
            Ok(FileOptions::default())
        }
        Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
    }
}

fn absolute(key: &'static str, value: &str) -> Result<PathBuf, ConfigError> {
    let path = value.strip_prefix("unix://").unwrap_or(value);
    match Path::new(path).is_absolute() {
        true => Ok(path.into()),
        false => Err(ConfigError::Relative { key, value: value.to_owned() }),
    }
}

fn engine_socket(value: &str) -> Result<PathBuf, ConfigError> {
    let no_socket = || ConfigError::NoUnixSocket { value: value.to_owned() };
    match value.split_once("://") {
        Some(("unix", path)) => absolute("engine", path).map_err(|_| no_socket()),
        Some(_) => Err(no_socket()),
        None => absolute("engine", value).map_err(|_| no_socket()),
    }
}

fn choice<T: ValueEnum>(
    key: &'static str,
    flag: Option<T>,
    file: &FileOptions,
    default: T,
) -> Result<T, ConfigError> {
    let (None, Some(text)) = (&flag, file.get(key)) else { return Ok(flag.unwrap_or(default)) };
    T::from_str(&text, true).map_err(|_| ConfigError::NoChoice {
        key,
        value: text,
        choices: T::value_variants()
            .iter()
            .filter_map(ValueEnum::to_possible_value)
            .map(|value| value.get_name().to_owned())
            .collect::<Vec<_>>()
            .join(", "),
    })
}

/// Returns `, did you mean …` for a key that is close to a known one, else the list of keys.
fn suggestion(key: &str) -> String {
    let nearest = KEYS.into_iter().min_by_key(|known| distance(key, known));
    match nearest.filter(|known| distance(key, known) <= 3) {
        Some(known) => format!(", did you mean `{known}`?"),
        None => format!(": known are {}", KEYS.join(", ")),
    }
}

/// Single-character edits between two texts (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<FileOptions, ConfigError> {
        FileOptions::parse(Path::new("/etc/s.toml"), text)
    }

    #[test]
    fn without_any_option_the_defaults_hold() {
        let config = Config::merge(&DaemonArgs::default(), &FileOptions::default()).unwrap();
        assert_eq!(config.socket, Path::new("/run/swarmnet/docker.sock"));
        assert_eq!(config.engine, Path::new("/var/run/docker.sock"));
        assert_eq!(config.plugin_socket, Path::new("/run/docker/plugins/swarmnet.sock"));
        assert_eq!(config.attach_mode, AttachMode::Auto);
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = file("engine = \"/a.sock\"\nstate-dir = \"/s\"\nattach-mode = \"clsact\"");
        let args = DaemonArgs { engine: Some("unix:///b.sock".into()), ..DaemonArgs::default() };
        let config = Config::merge(&args, &file.unwrap()).unwrap();
        assert_eq!(config.engine, Path::new("/b.sock"));
        assert_eq!(config.state_dir, Path::new("/s"));
        assert_eq!(config.attach_mode, AttachMode::Clsact);
    }

    #[test]
    fn an_unknown_key_is_refused_with_a_suggestion() {
        let error = file("state_dir = \"/s\"").unwrap_err().to_string();
        assert_eq!(error, "/etc/s.toml: unknown key `state_dir`, did you mean `state-dir`?");
        let error = file("colour = \"red\"").unwrap_err().to_string();
        assert!(error.starts_with("/etc/s.toml: unknown key `colour`: known are socket, "));
    }

    #[test]
    fn wrong_values_are_named() {
        let merged = |args: DaemonArgs, text: &str| {
            Config::merge(&args, &file(text).unwrap()).unwrap_err().to_string()
        };
        let tcp = DaemonArgs { engine: Some("tcp://h:2375".into()), ..DaemonArgs::default() };
        assert!(merged(tcp, "").starts_with("engine `tcp://h:2375`: only a unix socket"));
        let relative = DaemonArgs { socket: Some("x.sock".into()), ..DaemonArgs::default() };
        assert_eq!(merged(relative, ""), "socket must be an absolute path, not `x.sock`");
        assert_eq!(
            merged(DaemonArgs::default(), "attach-mode = \"xdp\""),
            "`xdp` is not a value of attach-mode: use one of auto, tcx, clsact"
        );
        assert_eq!(
            file("log = 3").unwrap_err().to_string(),
            "/etc/s.toml: `log` must be a text, such as log = \"…\""
        );
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("socket", "socket"), 0);
        assert_eq!(distance("sokcet", "socket"), 2);
        assert_eq!(distance("", "log"), 3);
    }
}
