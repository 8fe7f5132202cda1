//! Messages of the rules that only a cluster has; each continues the field's name. CEL rules and `validate` say the same.

pub(crate) const NO_MODEL_ID: &str =
    "must be an id of the hub, such as OWNER/NAME, or a path: no URL, and no blanks around it";
pub(crate) const RESERVED_VOLUMES: [&str; 4] = ["config", "cache", "tmp", "shm"];
pub(crate) const ONE_CACHE: &str =
    "must have at most one of volume, existingClaim, hostPath, image and sizeLimit";
pub(crate) const NO_SHARED_CACHE: &str =
    "needs a cache.volume that several pods may have, or cache.existingClaim";
pub(crate) const NO_OWN_CACHE: &str =
    "needs a cache.volume that several pods may have: what lies in another cache may be others'";
pub(crate) const NOTHING_TO_PREFETCH: &str =
    "conflicts with networkPolicy.offline, by which nothing is downloaded";
pub(crate) const NOT_ENABLED: &str =
    "needs networkPolicy.enabled: alone it makes no NetworkPolicy, and isolates nothing";
pub(crate) const ONE_BUDGET: &str = "must not have both minAvailable and maxUnavailable";
pub(crate) const RECREATE: &str = "Recreate has neither maxSurge nor maxUnavailable";
pub(crate) const FREE_PORT: &str = "must not be 0: the Service needs a fixed port";
/// However the addresses are written, those among them that are numbers in other bases.
pub(crate) const LOOPBACKS: &str = "(?i)^((.*\\.)?localhost[46]?(\\.localdomain[46]?)?\\.?|ip6-(localhost|loopback)|127\\..*|0x.*|0[0-7]+(\\..*)?|[1-9][0-9]*|\
     [0:]*:0*1(%.*)?|[0:]*:ffff:(127\\..*|7f[0-9a-f]{2}:[0-9a-f]{1,4}))$";
pub(crate) const LOOPBACK: &str = "must be reachable from outside of the pod";
pub(crate) const LITERAL_TOKEN: &str = "must not hold a token: name a Secret in huggingFaceToken";
pub(crate) const TWO_TOKENS: &str = "conflicts with global.tokenSource";
pub(crate) const SAME_NAME: &str = "must not have a name twice";
pub(crate) const RESERVED_VOLUME: &str = "must not take the operator's names: config, cache, tmp, shm";
pub(crate) const NOT_A_DURATION: &str =
    "must be a duration of whole h, m, s and ms in that order, such as 30s or 1m30s";
pub(crate) const SLOW_SCRAPE: &str = "must not be longer than monitoring.interval";
pub(crate) const RESERVED_LABELS: [&str; 3] =
    ["app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by"];
pub(crate) const RESERVED_LABEL: &str =
    "must not take the operator's labels: app.kubernetes.io/name, instance and managed-by";
pub(crate) const NO_METRICS: &str = "conflicts with server.disableMetrics";
pub(crate) const ONE_BY_ONE: &str = "has neither rollout.maxSurge, rollout.maxUnavailable nor rollout.strategy Recreate: \
     a StatefulSet replaces its pods one by one";
pub(crate) const NO_SIZE: &str = "must be an amount above 0, such as 20Gi";
pub(crate) const FIXED_CLAIMS: &str =
    "cannot change while perReplica is true, since a StatefulSet keeps its claims: take perReplica out first";
