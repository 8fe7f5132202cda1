//! Replicas with a cache each.

use super::*;

#[test]
fn each_replica_may_have_a_cache_of_its_own() {
    let volume = json!({ "size": "5Gi", "storageClassName": "fast", "perReplica": true });
    let fields = json!({ "cache": { "volume": volume }, "replicas": 3, "rollout": { "drainSeconds": 7 } });
    let objects = built(with(fields.clone()));
    for absent in ["Deployment", "PersistentVolumeClaim"] {
        assert_eq!(of_kind(&objects, absent), None);
    }
    let set = of_kind(&objects, "StatefulSet").unwrap();
    let spec = &set["spec"];
    assert_eq!((&set["metadata"]["name"], &spec["replicas"]), (&json!("m"), &json!(3)));
    assert_eq!(spec["podManagementPolicy"], "Parallel");
    assert_eq!(spec["updateStrategy"], json!({ "type": "RollingUpdate" }));
    let retain = json!({ "whenDeleted": "Retain", "whenScaled": "Retain" });
    assert_eq!(spec["persistentVolumeClaimRetentionPolicy"], retain);
    let claim = &spec["volumeClaimTemplates"][0];
    assert_eq!(claim["metadata"]["name"], "cache");
    assert_eq!(claim["metadata"]["labels"][MANAGED_BY], "ostro-operator");
    assert_eq!(claim["spec"]["accessModes"], json!(["ReadWriteOnce"]));
    assert_eq!(claim["spec"]["storageClassName"], "fast");
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "5Gi");
    // The claim takes the volume's place; the mount stays.
    let pod = &spec["template"]["spec"];
    let has = |list: &Value| list.as_array().unwrap().iter().any(|item| item["name"] == "cache");
    assert!(!has(&pod["volumes"]) && has(&pod["containers"][0]["volumeMounts"]), "{pod}");
    let mut shared = fields;
    shared["cache"]["volume"]["perReplica"] = false.into();
    let deployment = of_kind(&built(with(shared)), "Deployment").unwrap();
    let other = &deployment["spec"]["template"]["spec"];
    assert_eq!(
        (&other["containers"], &deployment["spec"]["selector"]),
        (&pod["containers"], &spec["selector"])
    );
}

/// Before anything is written: what runs would be deleted for what cannot start.
#[test]
fn what_a_stateful_set_cannot_be_is_refused_by_name() {
    let refused = |name: &str, fields: Value| {
        let mut object = object(with(fields));
        object.metadata.name = Some(name.to_owned());
        let valid = object.spec.validate().unwrap();
        let problems = render(&object, &valid, &Defaults { image: "ostro:1".to_owned() }).err();
        let problems = problems.into_iter().flat_map(|problems| problems.0);
        problems.map(|problem| problem.key).collect::<Vec<_>>()
    };
    let of = |own: bool| json!({ "cache": { "volume": { "size": "1Gi", "perReplica": own } } });
    let (longest, longer) = ("n".repeat(52), "n".repeat(53));
    assert_eq!(refused(&longest, of(true)), [""; 0]);
    assert_eq!(refused(&longer, of(true)), ["metadata.name"]);
    assert_eq!(refused(&longer, of(false)), [""; 0]);
}

/// The Service of clients, and one by which pods have names, which no monitor scrapes: it has no port.
#[test]
fn replicas_with_caches_have_a_headless_service() {
    let volume = json!({ "size": "1Gi", "perReplica": true });
    let objects = built(with(json!({ "cache": { "volume": volume } })));
    let services: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "Service").collect();
    let names: Vec<&Value> = services.iter().map(|service| &service["metadata"]["name"]).collect();
    assert_eq!(names, ["m", "m-headless"]);
    let headless = &services[1]["spec"];
    assert_eq!((&headless["clusterIP"], headless.get("ports")), (&json!("None"), None));
    assert_eq!(headless["selector"], services[0]["spec"]["selector"]);
    assert_eq!(of_kind(&objects, "StatefulSet").unwrap()["spec"]["serviceName"], "m-headless");
}
