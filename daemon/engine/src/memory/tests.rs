use std::fs;
use std::path::Path;

use super::*;
use crate::options::CacheType;

const GB: u64 = 1 << 30;

fn host_of(files: &[(&str, &str)]) -> Memory {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, text).unwrap();
    }
    Memory::read_at(root.path())
}

fn bytes(total: u64, available: u64) -> Memory {
    Memory { total_bytes: Some(total), available_bytes: Some(available), ..Memory::default() }
}

const MEMINFO: (&str, &str) =
    ("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n");

#[test]
fn machine_without_limits() {
    assert_eq!(host_of(&[MEMINFO]), bytes(16 * GB, 8 * GB));
}

#[test]
fn what_the_process_has_is_read() {
    let host =
        host_of(&[("proc/self/status", "VmRSS:\t    9000 kB\nRssAnon:\t    2048 kB\nRssFile:\t 1 kB\n")]);
    assert_eq!(host.resident_bytes, Some(2 << 20));
}

#[test]
fn unreadable_system_has_no_limits() {
    assert_eq!(host_of(&[]), Memory::default());
}

#[test]
fn tightest_cgroup_of_the_path_wins() {
    let host = host_of(&[
        MEMINFO,
        ("proc/self/cgroup", "0::/pod/container\n"),
        ("sys/fs/cgroup/pod/container/memory.max", "max\n"),
        ("sys/fs/cgroup/pod/memory.max", "4294967296\n"),
        ("sys/fs/cgroup/pod/memory.current", "3221225472\n"),
        (
            "sys/fs/cgroup/pod/memory.stat",
            "inactive_anon 7\ninactive_file 1073741824\nactive_file 536870912\n",
        ),
    ]);
    assert_eq!(host, bytes(4 * GB, 2 * GB + GB / 2));
}

#[test]
fn namespaced_cgroup_is_read_at_the_mount() {
    let host = host_of(&[
        MEMINFO,
        ("proc/self/cgroup", "0::/../../elsewhere\n"),
        ("sys/fs/cgroup/memory.max", "2147483648\n"),
        ("sys/fs/cgroup/memory.current", "0\n"),
    ]);
    assert_eq!(host, bytes(2 * GB, 2 * GB));
}

#[test]
fn version_1_limits_count() {
    let host = host_of(&[
        MEMINFO,
        ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/a\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1\n"),
        ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1073741824\n"),
        ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "536870912\n"),
        (
            "sys/fs/cgroup/memory/a/memory.stat",
            "active_file 7\ntotal_inactive_file 0\ntotal_active_file 268435456\n",
        ),
    ]);
    assert_eq!(host, bytes(GB, GB / 4 * 3));
}

/// A block of 32 tokens takes 1 MB, a context has 1024 tokens, 8 sequences run, the model takes 1 GB.
fn request(size: CacheSize) -> CacheRequest {
    CacheRequest {
        options: CacheOptions { cache_type: CacheType::F16, block_size: 32, size },
        bytes_per_block: 1 << 20,
        context_len: 1024,
        sequences_max: 8,
        model_bytes: GB,
        later: LaterModels::default(),
    }
}

#[test]
fn size_buys_blocks() {
    let host = bytes(16 * GB, 9 * GB);
    let cases = [
        (CacheSize::Auto, 256),
        (CacheSize::ContextLen(1000), 32),
        (CacheSize::Megabytes(100), 100),
        (CacheSize::MemoryFraction(0.25), 4096),
    ];
    for (size, blocks) in cases {
        assert_eq!(request(size).blocks(&host), Ok(blocks), "{size:?}");
    }
}

#[test]
fn automatic_size_shrinks_with_memory() {
    let auto =
        |available_mb: u64| request(CacheSize::Auto).blocks(&bytes(16 * GB, GB + (available_mb << 20)));
    assert_eq!(auto(400), Ok(100), "a quarter");
    assert_eq!(auto(80), Ok(32), "one context");
    assert_eq!(auto(40), Ok(20), "half of what is left");
    assert!(matches!(auto(1), Err(MemoryError::NoBlock { .. })));
    assert_eq!(request(CacheSize::Auto).blocks(&Memory::default()), Ok(32), "unknown memory");
}

#[test]
fn automatic_caches_leave_room_for_later_models() {
    const MB: u64 = 1 << 20;
    let blocks = |owner, count, later_mb: u64| {
        let memory = Memory { owner, ..bytes(16 * GB, GB + 200 * MB) };
        let later = LaterModels { count, bytes: later_mb * MB };
        CacheRequest { later, ..request(CacheSize::Auto) }.blocks(&memory)
    };
    assert_eq!(blocks(MemoryOwner::Models, 0, 0), Ok(180), "nine tenths");
    assert_eq!(blocks(MemoryOwner::Models, 1, 100), Ok(45), "of half of what is left beside it");
    assert_eq!(blocks(MemoryOwner::Models, 3, 160), Ok(9), "of a quarter");
    assert_eq!(blocks(MemoryOwner::Models, 1, 0), Ok(90), "of half, its weights are not known");
    assert_eq!(blocks(MemoryOwner::Models, 1, 300), Ok(180), "it does not fit");
    assert_eq!(blocks(MemoryOwner::Shared, 0, 0), Ok(50), "a quarter");
    assert_eq!(blocks(MemoryOwner::Shared, 1, 100), Ok(25), "half of half of what is left beside it");
    assert_eq!(blocks(MemoryOwner::Shared, 1, 197), Ok(50), "its share is less than two blocks");
}

#[test]
fn what_cannot_fit_is_refused() {
    let host = bytes(4 * GB, 2 * GB);
    let refused = |size| request(size).blocks(&host).unwrap_err();
    let too_large = refused(CacheSize::Megabytes(1025));
    assert!(matches!(too_large, MemoryError::Cache { .. }), "{too_large:?}");
    assert_eq!(
        too_large.to_string(),
        "the model needs 1024 MiB and the key-value cache 1025 MiB, 2048 MiB of memory are available; \
         a smaller cache can be chosen by context_len, memory_mb or memory_fraction"
    );
    assert!(matches!(refused(CacheSize::ContextLen(u64::MAX)), MemoryError::Cache { .. }));
    assert!(matches!(refused(CacheSize::Megabytes(0)), MemoryError::NoBlock { .. }));
    for fraction in [0.0, -1.0, 1.5, f32::NAN] {
        assert!(
            matches!(refused(CacheSize::MemoryFraction(fraction)), MemoryError::Fraction { .. }),
            "{fraction}"
        );
    }
    let model = request(CacheSize::Auto).blocks(&bytes(GB, GB / 2)).unwrap_err();
    assert!(matches!(model, MemoryError::Model { .. }), "{model:?}");
}

#[test]
fn refusals_say_whose_memory_it_is() {
    let gpu = Memory { owner: MemoryOwner::Models, ..bytes(GB, GB / 2) };
    let refused = request(CacheSize::Auto).blocks(&gpu).unwrap_err();
    assert_eq!(refused.to_string(), "the model needs 1024 MiB, 512 MiB of the GPU's memory are available");
}

/// 8 GB, so much of which this process has touched, and nobody else any.
fn touched(bytes: u64) -> Memory {
    let (total_bytes, available_bytes) = (Some(8 * GB), Some(8 * GB - bytes));
    Memory { total_bytes, available_bytes, resident_bytes: Some(bytes), ..Memory::default() }
}

#[test]
fn what_earlier_models_may_still_take_is_not_available() {
    const CACHE: u64 = 4500 << 20;
    let ledger = MemoryLedger::default();
    let blocks = |memory| request(CacheSize::Megabytes(4500)).blocks(&ledger.left(memory));
    assert_eq!(blocks(touched(0)), Ok(4500));
    let first = ledger.promise(&touched(0), GB + CACHE);
    // Its weights, some of its cache, and all of it.
    for bytes in [GB, 2 * GB, GB + CACHE] {
        assert_eq!(ledger.left(touched(bytes)).available_bytes, Some(7 * GB - CACHE));
        assert!(matches!(blocks(touched(bytes)), Err(MemoryError::Cache { .. })));
    }
    drop(first);
    assert_eq!(blocks(touched(0)), Ok(4500));
}

#[test]
fn automatic_caches_fit_beside_each_other() {
    let ledger = MemoryLedger::default();
    // One context could take all memory.
    let request = CacheRequest { context_len: 1 << 18, ..request(CacheSize::Auto) };
    let (mut promises, mut promised) = (Vec::new(), 0);
    for models in 0..3 {
        // Caches are as yet empty.
        let memory = ledger.left(touched(models * GB));
        let bytes = GB + (u64::from(request.blocks(&memory).unwrap()) << 20);
        promised += bytes;
        promises.push(ledger.promise(&memory, bytes));
    }
    assert!(promised <= 8 * GB, "{promised} bytes");
}

#[test]
fn memory_that_others_give_back_is_available() {
    let ledger = MemoryLedger::default();
    let before = Memory { available_bytes: Some(3 * GB), ..touched(0) };
    let _first = ledger.promise(&before, 2 * GB);
    let now = Memory { available_bytes: Some(6 * GB), ..touched(GB) };
    assert_eq!(ledger.left(now).available_bytes, Some(5 * GB));
}

#[test]
fn models_of_a_gpu_are_promised_no_memory_of_the_machine() {
    let ledger = MemoryLedger::default();
    let gpu = Memory { owner: MemoryOwner::Models, ..bytes(8 * GB, 8 * GB) };
    let _first = ledger.promise(&gpu, GB);
    assert_eq!(ledger.left(touched(0)), touched(0));
    let _second = ledger.promise(&touched(0), GB);
    assert_eq!(ledger.left(gpu), gpu);
}
