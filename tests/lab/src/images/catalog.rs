//! What is in each image.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::command::run;
use crate::images::layer::{self, Layer};
use crate::images::registry::{self, Image};

/// The images every engine has.
pub(crate) const NAMES: [&str; 4] = ["alpine", "busybox", "nginx", "whoami"];

const BUSYBOX: &str = "/bin/busybox";
const NGINX: &str = "/usr/sbin/nginx";
const NGINX_PAGE: &str = "/usr/share/nginx/html/index.html";
const NGINX_TYPES: &str = "/etc/nginx/mime.types";
/// Where our own server is in every image: it is `nc` too.
const WHOAMI: &str = "/usr/local/lib/swarmnet/whoami";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const NGINX_CONFIG: &str = "\
user www-data;
worker_processes auto;
pid /run/nginx.pid;
error_log /dev/stderr notice;
events { worker_connections 1024; }
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log /dev/stdout;
    sendfile on;
    keepalive_timeout 65;
    server {
        listen 80;
        root /usr/share/nginx/html;
        index index.html;
    }
}
";
const USERS: &str = "\
root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
";
const GROUPS: &str = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n";

/// Returns the files of this machine that go into the images; the last one is `whoami`.
pub(super) fn sources(whoami: &Path) -> Result<Vec<PathBuf>> {
    let mut sources = vec![PathBuf::from(BUSYBOX)];
    sources.extend([NGINX, NGINX_PAGE, NGINX_TYPES].map(PathBuf::from));
    sources.extend(libraries(Path::new(NGINX))?);
    sources.push(whoami.to_owned());
    Ok(sources)
}

/// Makes all images from their sources, as a registry's storage in `dir/registry`.
pub(super) fn build(sources: &[PathBuf], dir: &Path) -> Result<()> {
    let (whoami, system) = sources.split_last().context("no sources")?;
    require_static(whoami, "make build")?;
    require_static(Path::new(BUSYBOX), "make deps")?;
    let base = layer::pack(dir, "base", |root| stage_base(root, whoami))?;
    let nginx = layer::pack(dir, "nginx", |root| stage_nginx(root, &system[1..]))?;
    // In this image only: elsewhere `whoami` is busybox's, which tells the user's name.
    let server = layer::pack(dir, "whoami", |root| {
        fs::create_dir_all(root.join("usr/local/bin"))?;
        symlink(WHOAMI, root.join("usr/local/bin/whoami")).context("linking whoami")
    })?;
    let shell = json!({"Cmd": ["sh"], "Env": [PATH]});
    let images = [
        image("alpine", &[&base], shell.clone()),
        image("busybox", &[&base], shell),
        image("nginx", &[&base, &nginx], nginx_settings()),
        image("whoami", &[&base, &server], whoami_settings()),
    ];
    for image in &images {
        registry::store(&dir.join("registry"), image)?;
    }
    fs::remove_dir_all(dir.join("layers")).context("removing the unpacked layers")
}

fn image<'a>(name: &'static str, layers: &[&'a Layer], settings: Value) -> Image<'a> {
    Image { name, layers: layers.to_vec(), settings }
}

fn nginx_settings() -> Value {
    json!({
        "Cmd": ["nginx", "-g", "daemon off;"],
        "Env": [PATH],
        "ExposedPorts": {"80/tcp": {}},
        "StopSignal": "SIGQUIT",
    })
}

fn whoami_settings() -> Value {
    json!({
        "Entrypoint": ["/usr/local/bin/whoami"],
        "Env": [PATH],
        "ExposedPorts": {"80/tcp": {}, "80/udp": {}},
    })
}

fn stage_base(root: &Path, whoami: &Path) -> Result<()> {
    for dir in ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/bin", "var/log"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::write(root.join("etc/passwd"), USERS)?;
    fs::write(root.join("etc/group"), GROUPS)?;
    install(Path::new(BUSYBOX), &root.join("bin/busybox"))?;
    install(whoami, &root.join(WHOAMI.trim_start_matches('/')))?;
    for applet in run(BUSYBOX, &["--list-full"])?.lines() {
        let link = root.join(applet);
        let program = match applet.rsplit('/').next() {
            Some("busybox") => continue,
            // Debian's busybox has one that cannot do UDP.
            Some("nc") => WHOAMI,
            _ => BUSYBOX,
        };
        fs::create_dir_all(link.parent().context("an applet has a directory")?)?;
        symlink(program, &link).with_context(|| format!("linking {applet}"))?;
    }
    Ok(())
}

fn stage_nginx(root: &Path, files: &[PathBuf]) -> Result<()> {
    for dir in ["var/lib/nginx", "var/log/nginx", "var/www", "run"] {
        fs::create_dir_all(root.join(dir))?;
    }
    for file in files {
        let inner = file.strip_prefix("/").context("sources are absolute paths")?;
        install(file, &root.join(inner))?;
    }
    // The path that is compiled in is opened before the configuration is read.
    symlink("/dev/stderr", root.join("var/log/nginx/error.log"))?;
    symlink("/dev/stdout", root.join("var/log/nginx/access.log"))?;
    fs::write(root.join("etc/nginx/nginx.conf"), NGINX_CONFIG).context("writing nginx.conf")
}

/// Copies a file with its mode, following symbolic links.
fn install(source: &Path, target: &Path) -> Result<()> {
    fs::create_dir_all(target.parent().context("a file has a directory")?)?;
    fs::copy(source, target)
        .map(drop)
        .with_context(|| format!("copying {} to {}", source.display(), target.display()))
}

fn require_static(program: &Path, remedy: &str) -> Result<()> {
    let libraries = libraries(program)?;
    ensure!(libraries.is_empty(), "{} is not static; try: {remedy}", program.display());
    Ok(())
}

/// Returns the shared libraries a program needs, its loader included; none if it is static.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let listing = match run("ldd", &[program]) {
        Ok(listing) => listing,
        Err(error) if error.to_string().contains("not a dynamic executable") => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    // `libz.so.1 => /lib/… (0x…)`, `/lib64/ld-… (0x…)`, `linux-vdso…` and `statically linked`.
    let path = |line: &str| {
        let words = line.split_whitespace();
        words.map(PathBuf::from).find(|word| word.is_absolute())
    };
    let mut libraries: Vec<PathBuf> = listing.lines().filter_map(path).collect();
    libraries.sort();
    Ok(libraries)
}
