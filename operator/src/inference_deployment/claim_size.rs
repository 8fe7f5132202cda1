//! The size of a claim that somebody has made larger than it is wanted: volumes do not shrink. Pure.

use std::borrow::Cow;

use kube::api::DynamicObject;
use ostro_crds::thousandths;

const SIZE: &str = "/spec/resources/requests/storage";
const CAPACITY: &str = "/status/capacity/storage";

/// `wanted`, of a claim with the size of the one that there is, where the API server would refuse the smaller one: it takes
/// none that the volume has reached. Above that it lets who asked for too much ask for less.
pub(crate) fn as_large<'a>(wanted: &'a DynamicObject, live: &DynamicObject) -> Cow<'a, DynamicObject> {
    let is_claim = wanted.types.as_ref().is_some_and(|types| types.kind == "PersistentVolumeClaim");
    let size = live.data.pointer(SIZE).filter(|_| is_claim && is_larger(wanted, live));
    let mut wanted = Cow::Borrowed(wanted);
    if let Some(size) = size
        && let Some(field) = wanted.to_mut().data.pointer_mut(SIZE)
    {
        *field = size.clone();
    }
    wanted
}

fn is_larger(wanted: &DynamicObject, live: &DynamicObject) -> bool {
    let amount = |object: &DynamicObject, path| thousandths(object.data.pointer(path)?.as_str()?);
    let asked = amount(wanted, SIZE);
    asked.is_some() && amount(live, SIZE) > asked && amount(live, CAPACITY) >= asked
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_keeps_the_size_that_its_volume_cannot_lose() {
        let of = |kind: &str, size: &str, capacity: Option<&str>| -> DynamicObject {
            let capacity = capacity.map(|capacity| json!({ "storage": capacity }));
            let spec = json!({ "resources": { "requests": { "storage": size } } });
            let object = json!({
                "apiVersion": "v1", "kind": kind, "metadata": { "name": "m" }, "spec": spec, "status": { "capacity": capacity },
            });
            serde_json::from_value(object).unwrap()
        };
        let claim = "PersistentVolumeClaim";
        for (live, expected) in [
            (of(claim, "2Gi", Some("1Gi")), "2Gi"),
            (of(claim, "2Gi", Some("2Gi")), "2Gi"),
            (of(claim, "1Gi", Some("5Gi")), "1024Mi"),
            (of(claim, "512Mi", Some("512Mi")), "1024Mi"),
            // It could not be made so large, and the spec says so by now.
            (of(claim, "9000Gi", Some("512Mi")), "1024Mi"),
            (of(claim, "2Gi", None), "1024Mi"),
        ] {
            let wanted = of(claim, "1024Mi", None);
            assert_eq!(as_large(&wanted, &live).data.pointer(SIZE), Some(&json!(expected)), "{live:?}");
        }
        let other = of("Other", "1Gi", None);
        assert_eq!(as_large(&other, &of("Other", "2Gi", Some("2Gi"))), Cow::Borrowed(&other));
    }
}
