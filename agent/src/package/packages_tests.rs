//! Which version of a service is the active one, with a real Nix and a store of each test's own.

mod real_nix {
    use std::{
        collections::BTreeMap,
        env, fs,
        os::unix::fs::PermissionsExt as _,
        path::PathBuf,
        process::{Command, Stdio},
        sync::Arc,
        time::Duration,
    };

    use consul_client::Client;
    use helium_crds::{
        instance::{Assignment, Desired},
        package::Package,
    };
    use helium_nix::service::is_active;
    use helium_runtime::ports::Ports;
    use tempfile::TempDir;

    use crate::{
        config::AgentConfig,
        instance::table::AssignedCell,
        package::{active::follow, packages::Wanted},
        shared::Shared,
        testing,
    };

    /// An agent's packages on a machine with a Nix.
    struct World {
        folder: TempDir,
        programs: PathBuf,
        env: BTreeMap<String, String>,
        shared: Arc<Shared>,
    }

    impl World {
        fn new() -> Self {
            let programs = env::var_os("NIX_BIN").filter(|folder| !folder.is_empty()).map(PathBuf::from);
            let programs = programs.expect(
                "NIX_BIN names no folder with nix-env and nix-store: run `NIX_BIN=$(cargo xtask nix) cargo test -p helium-agent`, \
                 or leave these tests out by `-- --skip real_nix::`",
            );
            let folder = TempDir::new().unwrap();
            let at = |name: &str| folder.path().join(name).display().to_string();
            fs::create_dir_all(folder.path().join("etc")).unwrap();
            fs::write(folder.path().join("etc/nix.conf"), "sandbox = false\nbuild-users-group =\nsubstituters =\n")
                .unwrap();
            let variables = [
                ("NIX_STORE_DIR", at("store")),
                ("NIX_STATE_DIR", at("state")),
                ("NIX_LOG_DIR", at("log")),
                ("NIX_CONF_DIR", at("etc")),
                ("HOME", at("")),
                ("PATH", format!("{}:/usr/bin:/bin", programs.display())),
                ("SAID", at("said")),
                ("BREAK", at("break")),
            ];
            let env: BTreeMap<_, _> = variables.map(|(name, value)| (name.to_owned(), value)).into();
            let config = AgentConfig { package_root: folder.path().join("packages"), ..testing::config() };
            let server = consul_embedded::Server::in_memory(&consul_embedded::Config::default());
            let client = Client::over(server.transport(), None);
            let both = (env.clone(), BTreeMap::new());
            let none = (<_>::default(), <_>::default(), <_>::default());
            let shared = Arc::new(Shared::new(config, client, Ports::real(), both, none.0, none.1, none.2));
            Self { folder, programs, env, shared }
        }

        /// A store path that says its version when it is activated, and fails then once if the file `break` is there.
        fn path(&self, version: &str) -> String {
            let bin = self.folder.path().join("sources").join(version).join("bin");
            fs::create_dir_all(&bin).unwrap();
            let script = format!("#!/bin/sh\necho {version} >> $SAID\nif rm $BREAK; then exit 1; fi 2> /dev/null\n");
            fs::write(bin.join("activate"), script).unwrap();
            fs::set_permissions(bin.join("activate"), fs::Permissions::from_mode(0o755)).unwrap();
            let mut add = Command::new(self.programs.join("nix-store"));
            add.args(["--add", &bin.parent().unwrap().display().to_string()]).env_clear().envs(&self.env);
            let output = add.stderr(Stdio::inherit()).output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        }

        fn assigned(&self, id: &str, version: &str, path: &str, age: i64) -> Assignment {
            let mut one = testing::assignment(id);
            one.template.version = version.to_owned();
            one.template.package = Some(Package { url: format!("nix://{path}"), sha256: None, signature: None });
            one.created_at = testing::instant(age);
            self.shared.table.add(&one, AssignedCell::Unknown, <_>::default());
            one
        }

        async fn install(&self, one: &Assignment) {
            let wanted = Wanted {
                service: &one.service.name,
                version: &one.template.version,
                package: one.template.package.as_ref().unwrap(),
                current: false,
                in_use: self.shared.table.versions_of(&one.service.name),
            };
            self.shared.packages.install(&wanted, |_| async { Ok(()) }).await.map_err(|trouble| trouble.words).unwrap();
        }

        fn is_active(&self, path: &str) -> bool {
            is_active(&self.folder.path().join("packages/.nix/hello"), path)
        }

        fn said(&self) -> Vec<String> {
            fs::read_to_string(self.folder.path().join("said")).unwrap().lines().map(str::to_owned).collect()
        }
    }

    #[tokio::test]
    async fn an_older_version_that_comes_late_leaves_the_newest_one_active() {
        let world = World::new();
        let (one, two) = (world.path("one"), world.path("two"));
        let older = world.assigned("hello-0", "one", &one, 0);
        let newer = world.assigned("hello-1", "two", &two, 5);
        world.install(&newer).await;
        world.install(&older).await;
        assert!(world.is_active(&two), "{:?}", world.said());
        assert_eq!(world.said(), ["two", "one", "two"]);
    }

    #[tokio::test]
    async fn an_activation_that_fails_once_when_a_canary_is_given_up_is_tried_again() {
        let world = World::new();
        let (one, two) = (world.path("one"), world.path("two"));
        let stable = world.assigned("hello-0", "one", &one, 0);
        world.install(&stable).await;
        let canary = world.assigned("hello-1", "two", &two, 5);
        world.install(&canary).await;
        assert!(world.is_active(&two));
        fs::write(world.folder.path().join("break"), "").unwrap();
        world.shared.table.note(&Assignment { desired: Desired::Stop, ..canary });
        follow(&world.shared, "hello");
        let active = async {
            while !world.is_active(&one) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), active).await;
        assert!(in_time.is_ok(), "{:?}", world.said());
        assert_eq!(world.said(), ["one", "two", "one", "two", "one"]);
    }
}
