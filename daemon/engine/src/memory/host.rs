//! The memory this process may use: the machine's, or less where its cgroup has a limit (v1 and v2); or a GPU's.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::MemoryError;

/// In bytes; `None` where the system does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of the machine or the cgroup, whichever is less.
    pub total_bytes: Option<u64>,
    /// Of these, free or easily freed.
    pub available_bytes: Option<u64>,
    /// What the process has of it, without pages of files.
    pub resident_bytes: Option<u64>,
    pub owner: MemoryOwner,
}

/// Who else needs the memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryOwner {
    /// Everything on the machine.
    #[default]
    Shared,
    /// The models on this device.
    Models,
}

/// As messages name the memory.
impl fmt::Display for MemoryOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "memory",
            Self::Models => "the GPU's memory",
        })
    }
}

impl Memory {
    pub fn of_host() -> Self {
        Self::read_at(Path::new("/"))
    }

    /// Before anything is read: whether so many bytes fit at all.
    pub fn check_holds(&self, model_bytes: u64) -> Result<(), MemoryError> {
        match self.available_bytes {
            Some(available_bytes) if model_bytes > available_bytes => {
                Err(MemoryError::Model { model_bytes, available_bytes, owner: self.owner })
            }
            _ => Ok(()),
        }
    }

    /// `root` stands for `/`.
    pub(super) fn read_at(root: &Path) -> Self {
        let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
        let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
        let mut memory = Memory {
            total_bytes: line_bytes(&meminfo, "MemTotal:"),
            available_bytes: line_bytes(&meminfo, "MemAvailable:"),
            resident_bytes: line_bytes(&status, "RssAnon:"),
            owner: MemoryOwner::Shared,
        };
        let membership = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        for line in membership.lines() {
            memory.apply_cgroup(root, line);
        }
        memory
    }

    /// `line` is `id:controllers:path` of /proc/self/cgroup; v2 has no controllers.
    fn apply_cgroup(&mut self, root: &Path, line: &str) {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            return;
        };
        let files = match controllers {
            "" => &V2,
            _ if controllers.split(',').any(|name| name == "memory") => &V1,
            _ => return,
        };
        let top = root.join(files.top);
        let inside = path.trim_start_matches('/');
        // A path that leads outside the mounted hierarchy belongs to another namespace.
        let inside = if inside.split('/').any(|part| part == "..") { "" } else { inside };
        let mut group: PathBuf = top.join(inside);
        loop {
            self.apply_group(&group, files);
            if group == top || !group.pop() {
                return;
            }
        }
    }

    fn apply_group(&mut self, group: &Path, files: &CgroupFiles) {
        let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        // "max" is not a number; v1 has a number near 2^63 instead, larger than any machine.
        let Some(limit) = number(files.limit) else {
            return;
        };
        self.total_bytes = Some(self.total_bytes.map_or(limit, |total| total.min(limit)));
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let reclaimable: u64 = files.page_cache.iter().filter_map(|key| stat_bytes(&stat, key)).sum();
        let used = number(files.usage).unwrap_or(0).saturating_sub(reclaimable);
        let left = limit.saturating_sub(used);
        self.available_bytes = Some(self.available_bytes.map_or(left, |available| available.min(left)));
    }
}

struct CgroupFiles {
    top: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// Pages of files count as available, also those used twice, such as a model's at its second load: MemAvailable has
    /// them too.
    page_cache: [&'static str; 2],
}

static V2: CgroupFiles = CgroupFiles {
    top: "sys/fs/cgroup",
    limit: "memory.max",
    usage: "memory.current",
    page_cache: ["inactive_file", "active_file"],
};

static V1: CgroupFiles = CgroupFiles {
    top: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    page_cache: ["total_inactive_file", "total_active_file"],
};

/// `KEY   123 kB`
fn line_bytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// `key 123`
fn stat_bytes(stat: &str, key: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}
