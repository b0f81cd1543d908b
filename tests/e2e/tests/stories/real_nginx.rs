//! The example `hello-world` with a real nginx: its files follow two services through everything that happens to them, and no request fails.

use std::{env, fs, time::Duration};

use helium_e2e::{Helium, Http, Load, eventually};

use crate::{
    fleet::{Fleet, ROLLOUT},
    specs::canary,
};

/// The example with its package where it is, and the nginx of these tests.
fn example(version: &str) -> String {
    let file = Helium::example("hello-world/hello-world.yaml");
    let folder = file.rsplit_once("/hello-world/").unwrap().0;
    let nginx = env::var("NGINX_BIN").expect("this test needs nginx: NGINX_BIN=$(cargo xtask nginx)");
    let text = fs::read_to_string(&file).unwrap().replace("file:///srv", &format!("file://{folder}"));
    // The folders of tests are their user's alone, and nginx would have another one read its pages.
    let text = text.replace("[nginx,", &format!("[\"{nginx}\",")).replace("daemon off;", "daemon off; user root;");
    // What is in front stays as it is.
    let (front, behind) = text.split_at(text.find("---").unwrap());
    front.to_owned() + &behind.replace("1.0.0", version)
}

#[test]
fn two_services_behind_nginx_are_scaled_rolled_and_tried_out_and_no_request_fails() {
    let fleet = Fleet::of(2);
    fleet.apply(&example("1.0.0")).ok();
    let registered = fleet.consul.http().json("/v1/health/service/front?passing");
    let front = Http::on(registered[0]["Service"]["Port"].as_u64().unwrap().try_into().unwrap());
    assert!(front.get("/").unwrap().text().contains("hello, world"), "the static page");
    let answers = |path: &str, text: &str| front.get(path).is_ok_and(|answer| answer.text().trim() == text);
    eventually("both are found, since they are there", Duration::from_secs(10), || {
        (answers("/hello", "hello from 1.0.0") && answers("/world", "world from 1.0.0")).then_some(())
    });
    let loads = ["/hello", "/world"].map(|path| Load::at(path, &front));

    fleet.helium.run_for(ROLLOUT, &["scale", "hello=10", "world=6"]).ok();
    fleet.helium.run_for(ROLLOUT, &["wait", "--for", "phase=Healthy", "deployment/hello", "deployment/world"]).ok();
    assert_eq!((fleet.consul.passing("hello"), fleet.consul.passing("world")), (10, 6));

    let scaled = |version: &str| {
        let (hello, world) =
            ("metadata: {name: hello}\nspec:\n  replicas: 2", "metadata: {name: world}\nspec:\n  replicas: 2");
        let text = example(version);
        text.replace(hello, &hello.replace('2', "10")).replace(world, &world.replace('2', "6"))
    };
    fleet.apply(&scaled("2.0.0")).ok();
    for load in &loads {
        let answers = load.next(50);
        assert_eq!(answers.by_version.keys().collect::<Vec<_>>(), ["2.0.0"], "{answers:?}");
    }

    let steps = "[{setWeight: 50%}, {soak: 2s}]";
    let canaries = canary("hello", steps) + &canary("world", steps);
    fleet.apply(&(scaled("3.0.0") + &canaries)).ok();
    eventually("only the third answers", Duration::from_mins(1), || {
        let now = loads.iter().map(|load| load.next(50));
        now.into_iter().all(|answers| answers.by_version.keys().eq(["3.0.0"])).then_some(())
    });
    for load in &loads {
        let answers = load.so_far();
        assert!(
            answers.failed.is_empty(),
            "{} of {} failed: {:?}",
            answers.failed.len(),
            answers.total(),
            answers.failed.first()
        );
        assert!(
            ["1.0.0", "2.0.0", "3.0.0"].iter().all(|version| answers.by_version.contains_key(*version)),
            "{answers:?}"
        );
    }
}
