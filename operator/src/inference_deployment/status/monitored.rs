//! The condition `Monitored`: whether a Prometheus can find an object's pods. It never makes the object unready.

use ostro_crds::Reason;

use super::super::build::ChildKind;
use super::super::classify::Cause;
use super::super::optional::Lack;
use super::Finding;

pub(crate) fn monitored(kind: ChildKind, lack: Option<&Lack>) -> Finding {
    let resource = kind.resource();
    match lack {
        None => Finding {
            holds: true,
            reason: Reason::MonitorApplied,
            message: format!("the {kind:?} is applied"),
        },
        Some(Lack::Missing) => Finding {
            holds: false,
            reason: Reason::ApiMissing,
            message: format!(
                "the cluster has no API {}.{} ({}): install the Prometheus operator, or take spec.monitoring out; \
                 the {kind:?} is applied when the API appears",
                resource.plural, resource.group, resource.version
            ),
        },
        Some(Lack::Refused(Cause { reason, message })) => {
            Finding { holds: false, reason: *reason, message: message.clone() }
        }
        Some(Lack::Unreachable(message)) => Finding {
            holds: false,
            reason: Reason::ApiUnavailable,
            message: format!(
                "the API {}.{} cannot be used: {message}; the {kind:?} is applied when it can",
                resource.plural, resource.group
            ),
        },
    }
}
