//! Attention of a batch, in one parallel region.

use super::Cpu;
use crate::cpu::attention::buffers::Buffers;
use crate::cpu::attention::plan::{Cut, Plan, runs};
use crate::cpu::attention::unit::{Call, merge_row, run_unit};
use crate::cpu::attention::{BatchView, HeadShape};
use crate::cpu::kv_cache::KvCache;
use crate::cpu::memory::Shared;
use crate::cpu::pool::Team;
use crate::cpu::rows::Rows;
use crate::cpu::simd::{Kernel, Simd16};
use std::ops::Range;
use std::sync::atomic::AtomicUsize;

/// What attention reads.
#[derive(Clone, Copy)]
pub struct AttentionInput<'a> {
    /// Rotated queries (and keys and values, which are read from the cache instead).
    pub qkv: &'a Rows,
    pub batch: &'a BatchView<'a>,
    pub shape: &'a HeadShape,
    /// Holds the keys and values of every row's sequence up to the row itself.
    pub cache: &'a KvCache,
    pub layer: usize,
}

impl Cpu {
    /// Causal attention of every row over its sequence's keys; `out` gets `query_heads * head_dim`
    /// floats a row. Panics when shapes or block tables do not fit.
    pub fn attention(&mut self, input: &AttentionInput<'_>, out: &mut Rows) {
        let AttentionInput { qkv, batch, shape, cache, layer } = *input;
        check(input, out);
        let threads = self.pool.threads();
        let scratch = &mut self.attention;
        scratch.prepare(batch, shape, threads).expect("memory for attention's partial results");
        let call = Call {
            shape: *shape,
            pages: cache.layer(layer),
            block_tables: batch.block_tables,
            cuts: &scratch.plan.cuts,
            qkv,
            out: out.shared(),
            slots: Shared(scratch.slots.as_mut_ptr().cast()),
            unit: self.isa.matrix_unit().filter(|_| batch.rows.iter().any(|row| row.is_prompt)),
        };
        let (isa, plan, buffers) = (self.isa, &scratch.plan, &scratch.buffers);
        let next = AtomicUsize::new(plan.first(threads, threads).start);
        self.pool.run(&|team| {
            // SAFETY: `id` is this thread's own, see `ThreadBuffers`.
            let buffers = unsafe { &mut *buffers[team.id].0.get() };
            let first = plan.first(team.id, threads);
            isa.run(Units { call: &call, plan, first, next: &next, threads, buffers });
            if plan.slots > 0 {
                team.barrier();
                isa.run(Merges { call: &call, cuts: &plan.cuts, team: &team });
            }
        });
        // After the last layer comes the first one, with the next tokens of mostly the same sequences.
        let layers = cache.shape().layers;
        self.ahead.expect(cache.layer((layer + 1) % layers), batch, threads);
        self.check_reserved();
    }
}

/// A region's first phase: a thread's first units, then others, taken from a common counter.
struct Units<'a> {
    call: &'a Call<'a>,
    plan: &'a Plan,
    first: Range<usize>,
    next: &'a AtomicUsize,
    threads: usize,
    buffers: &'a mut Buffers,
}

impl Kernel for Units<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        if let Some(code) = self.call.unit {
            // SAFETY: whoever has the code may use it.
            unsafe { (code.configure)() };
        }
        let mut taken = self.first;
        loop {
            if taken.is_empty() {
                taken = self.plan.take(self.next, self.threads);
            }
            let Some(index) = taken.next() else { break };
            let next = taken.clone().next().map(|next| &self.plan.units[next]);
            // SAFETY: `attention` checked the shapes and tables; each unit is given to one thread,
            // and units differ in their output rows and heads, or in their slots.
            unsafe { run_unit::<S>(self.call, &self.plan.units[index], next, self.buffers) };
        }
        if let Some(code) = self.call.unit {
            // SAFETY: as above.
            unsafe { (code.release)() };
        }
    }
}

/// A region's second phase: rows and heads whose parts are complete.
struct Merges<'a> {
    call: &'a Call<'a>,
    cuts: &'a [Cut],
    team: &'a Team<'a>,
}

impl Kernel for Merges<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd16>(self) {
        let heads = self.call.shape.query_heads;
        let tokens: usize = self.cuts.iter().map(|cut| cut.run.tokens).sum();
        let share = self.team.share(tokens * heads);
        let mut first = 0;
        for cut in self.cuts {
            let end = first + cut.run.tokens * heads;
            if cut.parts == 1 {
                first = end;
                continue;
            }
            for index in share.start.max(first)..share.end.min(end) {
                let (token, head) = ((index - first) / heads, (index - first) % heads);
                // SAFETY: the barrier completed all slots; shares are disjoint.
                unsafe { merge_row::<S>(self.call, cut, token, head) };
            }
            first = end;
        }
    }
}

/// Everything that the region takes for granted about sizes.
fn check(input: &AttentionInput<'_>, out: &Rows) {
    let AttentionInput { qkv, batch, shape, cache, .. } = input;
    shape.check();
    let cached = cache.shape();
    assert_eq!((cached.kv_heads, cached.head_dim), (shape.kv_heads, shape.head_dim), "heads of the cache");
    assert_eq!(qkv.width(), shape.qkv_width(), "width of queries, keys and values");
    assert_eq!(out.width(), shape.out_width(), "width of attention's output");
    assert!(
        qkv.rows() >= batch.rows.len() && out.rows() >= batch.rows.len(),
        "fewer rows than the batch has"
    );
    check_tables(batch, cache);
}

/// Every block that the rows reach exists.
pub(super) fn check_tables(batch: &BatchView<'_>, cache: &KvCache) {
    let shape = cache.shape();
    for run in runs(batch) {
        let table = batch.block_tables[run.sequence];
        let blocks = run.keys().div_ceil(shape.block_size);
        assert!(blocks <= table.len(), "a block table of {} for {} keys", table.len(), run.keys());
        let largest = table[..blocks].iter().max();
        assert!(largest.is_none_or(|&b| (b as usize) < shape.blocks), "a block beyond the cache");
    }
}
