use expect_test::{Expect, expect};
use swarmnet_model::container::{DnsConfig, Ulimit};
use swarmnet_model::{NodeId, PredefinedNetwork};

use super::*;
use crate::task::fixture;

/// As JSON with its keys in order: the engine's models hold hash maps.
fn sorted(model: &impl serde::Serialize) -> serde_json::Value {
    let mut value = serde_json::to_value(model).unwrap();
    value.sort_all_objects();
    value
}

fn bind() -> MountKind {
    MountKind::Bind {
        propagation: None,
        non_recursive: false,
        create_mountpoint: false,
        read_only_non_recursive: false,
        read_only_force_recursive: false,
    }
}

fn check(task: &Task, networks: &TaskNetworks, want: &Expect) {
    let node_id = NodeId::from_text("n1");
    let context = TemplateContext {
        task,
        node_id: &node_id,
        node_hostname: "node01",
        node_os: "linux",
        node_architecture: "x86_64",
    };
    let text = match container_request(&context, networks) {
        Ok(request) => {
            // Through a value: its maps are ordered, those of the engine's models are not.
            let body = sorted(&request.body);
            let mut text = format!("{}\n{body:#}\n", request.name);
            for endpoint in &request.further {
                let settings = sorted(&endpoint.settings);
                text += &format!("connect {} {settings}\n", endpoint.network);
            }
            text
        }
        Err(error) => format!("{error}\n"),
    };
    want.assert_eq(&text);
}

#[test]
fn a_plain_task_becomes_a_named_and_labelled_container_on_its_networks() {
    check(
        &fixture::task("web", 1),
        &fixture::networks(),
        &expect![[r#"
        web.1.web-1
        {
          "HostConfig": {
            "NetworkMode": "net",
            "RestartPolicy": {
              "Name": "no"
            }
          },
          "Image": "nginx",
          "Labels": {
            "com.docker.swarm.node.id": "n1",
            "com.docker.swarm.service.id": "web",
            "com.docker.swarm.service.name": "web",
            "com.docker.swarm.task": "",
            "com.docker.swarm.task.id": "web-1",
            "com.docker.swarm.task.name": "web.1.web-1"
          },
          "NetworkingConfig": {
            "EndpointsConfig": {
              "net": {
                "DriverOpts": {
                  "swarmnet.task": "web-1"
                },
                "IPAMConfig": {
                  "IPv4Address": "10.0.1.5"
                }
              }
            }
          },
          "OpenStdin": false,
          "StopTimeout": 10,
          "Tty": false
        }
        connect swarmnet_gateway {"DriverOpts":{"swarmnet.task":"web-1"},"IPAMConfig":{"IPv4Address":"172.31.240.2"}}
    "#]],
    );
}

#[test]
fn a_task_without_networks_has_none() {
    let mut task = fixture::task("web", 1);
    task.spec.container.command = vec!["/bin/sh".to_owned()];
    task.spec.container.args = vec!["-c".to_owned(), "true".to_owned()];
    check(
        &task,
        &TaskNetworks::default(),
        &expect![[r#"
        web.1.web-1
        {
          "Cmd": [
            "-c",
            "true"
          ],
          "Entrypoint": [
            "/bin/sh"
          ],
          "HostConfig": {
            "NetworkMode": "none",
            "RestartPolicy": {
              "Name": "no"
            }
          },
          "Image": "nginx",
          "Labels": {
            "com.docker.swarm.node.id": "n1",
            "com.docker.swarm.service.id": "web",
            "com.docker.swarm.service.name": "web",
            "com.docker.swarm.task": "",
            "com.docker.swarm.task.id": "web-1",
            "com.docker.swarm.task.name": "web.1.web-1"
          },
          "OpenStdin": false,
          "StopTimeout": 10,
          "Tty": false
        }
    "#]],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one field after the other, and what they become")]
fn every_part_of_the_spec_reaches_the_engine() {
    let mut task = fixture::task("web", 2);
    task.spec.resources.limit_nano_cpus = 500_000_000;
    task.spec.resources.limit_memory_bytes = 64 << 20;
    task.spec.resources.limit_pids = 100;
    task.spec.resources.swap_bytes = Some(1 << 20);
    task.spec.resources.memory_swappiness = Some(7);
    task.spec.log_driver = Some(LogDriver {
        name: "local".into(),
        options: [("max-size".into(), "1m".into())].into(),
    });
    task.spec.container = ContainerSpec {
        image: "nginx:1.27".into(),
        labels: [("a".into(), "b".into()), (TASK_ID_LABEL.into(), "forged".into())].into(),
        hostname: Some("{{.Service.Name}}-{{.Task.Slot}}".into()),
        env: vec!["TASK={{.Task.Name}}".into()],
        dir: Some("/srv".into()),
        user: Some("1000".into()),
        groups: vec!["www".into()],
        init: Some(true),
        tty: true,
        read_only: true,
        stop_signal: Some("SIGQUIT".into()),
        stop_grace_period: Some(Duration::from_millis(1500)),
        healthcheck: Some(Healthcheck {
            test: vec!["CMD".into(), "true".into()],
            interval: Some(Duration::from_secs(1)),
            retries: 2,
            ..Default::default()
        }),
        hosts: vec!["10.0.0.1 db db.example".into()],
        dns: DnsConfig { nameservers: vec!["1.1.1.1".into()], ..Default::default() },
        mounts: vec![
            Mount {
                kind: MountKind::Volume {
                    no_copy: true,
                    labels: [("slot".into(), "{{.Task.Slot}}".into())].into(),
                    driver: None,
                    subpath: None,
                },
                source: "data-{{.Task.Slot}}".into(),
                target: "/data".into(),
                read_only: false,
                consistency: None,
            },
            Mount {
                kind: MountKind::Tmpfs {
                    size_bytes: Some(4096),
                    mode: Some(0o700),
                    options: vec![vec!["noexec".into()]],
                },
                source: String::new(),
                target: "/tmp".into(),
                read_only: false,
                consistency: None,
            },
        ],
        sysctls: [("net.core.somaxconn".into(), "512".into())].into(),
        capability_add: vec!["CAP_NET_ADMIN".into()],
        capability_drop: vec!["ALL".into()],
        ulimits: vec![Ulimit { name: "nofile".into(), soft: 1, hard: 2 }],
        oom_score_adj: Some(-5),
        security_options: vec!["no-new-privileges=true".into()],
        ..Default::default()
    };
    check(
        &task,
        &TaskNetworks::default(),
        &expect![[r#"
            web.2.web-2
            {
              "Env": [
                "TASK=web.2.web-2"
              ],
              "Healthcheck": {
                "Interval": 1000000000,
                "Retries": 2,
                "Test": [
                  "CMD",
                  "true"
                ]
              },
              "HostConfig": {
                "CapAdd": [
                  "CAP_NET_ADMIN"
                ],
                "CapDrop": [
                  "ALL"
                ],
                "Dns": [
                  "1.1.1.1"
                ],
                "ExtraHosts": [
                  "db:10.0.0.1",
                  "db.example:10.0.0.1"
                ],
                "GroupAdd": [
                  "www"
                ],
                "Init": true,
                "LogConfig": {
                  "Config": {
                    "max-size": "1m"
                  },
                  "Type": "local"
                },
                "Memory": 67108864,
                "MemorySwap": 68157440,
                "MemorySwappiness": 7,
                "Mounts": [
                  {
                    "ReadOnly": false,
                    "Source": "data-2",
                    "Target": "/data",
                    "Type": "volume",
                    "VolumeOptions": {
                      "Labels": {
                        "slot": "2"
                      },
                      "NoCopy": true
                    }
                  },
                  {
                    "ReadOnly": false,
                    "Target": "/tmp",
                    "TmpfsOptions": {
                      "Mode": 448,
                      "Options": [
                        [
                          "noexec"
                        ]
                      ],
                      "SizeBytes": 4096
                    },
                    "Type": "tmpfs"
                  }
                ],
                "NanoCpus": 500000000,
                "NetworkMode": "none",
                "OomScoreAdj": -5,
                "PidsLimit": 100,
                "ReadonlyRootfs": true,
                "RestartPolicy": {
                  "Name": "no"
                },
                "SecurityOpt": [
                  "no-new-privileges=true"
                ],
                "Sysctls": {
                  "net.core.somaxconn": "512"
                },
                "Ulimits": [
                  {
                    "Hard": 2,
                    "Name": "nofile",
                    "Soft": 1
                  }
                ]
              },
              "Hostname": "web-2",
              "Image": "nginx:1.27",
              "Labels": {
                "a": "b",
                "com.docker.swarm.node.id": "n1",
                "com.docker.swarm.service.id": "web",
                "com.docker.swarm.service.name": "web",
                "com.docker.swarm.task": "",
                "com.docker.swarm.task.id": "web-2",
                "com.docker.swarm.task.name": "web.2.web-2"
              },
              "OpenStdin": false,
              "StopSignal": "SIGQUIT",
              "StopTimeout": 2,
              "Tty": true,
              "User": "1000",
              "WorkingDir": "/srv"
            }
        "#]],
    );
}

#[test]
fn a_placeholder_that_means_nothing_is_named() {
    let mut task = fixture::task("web", 1);
    task.spec.container.hostname = Some("{{.Task.Nope}}".to_owned());
    check(
        &task,
        &TaskNetworks::default(),
        &expect![[r#"
            expanding hostname failed: template: expansion:1: can't evaluate field Nope (fields: ID, Name, Slot)
        "#]],
    );
}

#[test]
fn mounts_that_cannot_be_meant_are_refused_in_dockers_words() {
    let bind = bind();
    let tmpfs = MountKind::Tmpfs { size_bytes: None, mode: None, options: Vec::new() };
    let volume =
        MountKind::Volume { no_copy: false, labels: BTreeMap::new(), driver: None, subpath: None };
    for (kind, source, target, text) in [
        (&volume, "v", "rel", "invalid mount target, must be an absolute path: rel"),
        (&bind, "rel", "/x", "invalid bind mount source, must be an absolute path: rel"),
        (&volume, "/v", "/x", "invalid volume mount source, must not be an absolute path: /v"),
        (&tmpfs, "/v", "/x", "invalid tmpfs source, source must be empty"),
    ] {
        let refused = check_paths(kind, source, target).unwrap_err();
        assert_eq!(refused.to_string(), text);
    }
    assert_eq!(check_paths(&volume, "v", "/x"), Ok(()));
    assert_eq!(check_paths(&volume, "", "/x"), Ok(()), "an anonymous volume");
    assert_eq!(check_paths(&bind, "/v", "/x"), Ok(()));
}

#[test]
fn a_task_on_an_overlay_sees_our_resolv_conf_unless_the_user_mounts_one() {
    let node_id = NodeId::from_text("n1");
    let networks = TaskNetworks {
        resolv_conf: Some("/var/lib/swarmnet/agent/resolv/tasks/web-1".into()),
        ..fixture::networks()
    };
    let mounts = |task: &Task, networks: &TaskNetworks| {
        let context = TemplateContext {
            task,
            node_id: &node_id,
            node_hostname: "node01",
            node_os: "linux",
            node_architecture: "x86_64",
        };
        let request = container_request(&context, networks).unwrap();
        let mounts = request.body.host_config.unwrap().mounts.unwrap_or_default();
        mounts.into_iter().map(|m| (m.source.unwrap(), m.read_only)).collect::<Vec<_>>()
    };
    let mut task = fixture::task("web", 1);
    let ours = "/var/lib/swarmnet/agent/resolv/tasks/web-1".to_owned();
    assert_eq!(mounts(&task, &networks), [(ours, Some(true))]);
    assert_eq!(mounts(&task, &fixture::networks()), []);
    task.spec.container.mounts.push(Mount {
        kind: bind(),
        source: "/my/resolv.conf".to_owned(),
        target: "/etc//resolv.conf/".to_owned(),
        read_only: false,
        consistency: None,
    });
    assert_eq!(mounts(&task, &networks), [("/my/resolv.conf".to_owned(), Some(false))]);
}

#[test]
fn a_container_is_on_the_network_that_its_task_is_wired_to() {
    let task = fixture::task("web", 1);
    let node_id = NodeId::from_text("n1");
    let mode = |networks: &TaskNetworks| {
        let context = TemplateContext {
            task: &task,
            node_id: &node_id,
            node_hostname: "node01",
            node_os: "linux",
            node_architecture: "x86_64",
        };
        let body = container_request(&context, networks).unwrap().body;
        body.host_config.unwrap().network_mode.unwrap()
    };
    let predefined = |of| mode(&TaskNetworks { predefined: Some(of), ..TaskNetworks::default() });
    assert_eq!(predefined(PredefinedNetwork::Host), "host");
    assert_eq!(predefined(PredefinedNetwork::Bridge), "bridge");
    assert_eq!(mode(&fixture::networks()), "net");
    assert_eq!(mode(&TaskNetworks::default()), "none", "shut in: all of nothing");
}

#[test]
fn generic_resources_of_a_task_are_told_to_its_processes() {
    let mut task = fixture::task("web", 1);
    task.spec.container.env = vec!["A=1".into()];
    let gpu = |value: &str| GenericResource::Named { kind: "gpu".into(), value: value.into() };
    task.assigned_generic =
        vec![gpu("u1"), gpu("u2"), GenericResource::Discrete { kind: "SSD".into(), value: 3 }];
    let node_id = NodeId::from_text("n1");
    let context = TemplateContext {
        task: &task,
        node_id: &node_id,
        node_hostname: "node01",
        node_os: "linux",
        node_architecture: "x86_64",
    };
    let request = container_request(&context, &TaskNetworks::default()).unwrap();
    assert_eq!(
        request.body.env.unwrap(),
        ["A=1", "DOCKER_RESOURCE_GPU=u1,u2", "DOCKER_RESOURCE_SSD=3"]
    );
}
