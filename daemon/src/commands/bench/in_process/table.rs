//! What was measured in this process, as a table for people: `--json` has the same numbers and more.

use std::fmt::Write;

use ostro_engine::bench::{BenchReport, DecodeResult, Percentiles, PrefillResult};

use crate::terminal::line;

const PREFILL_HEAD: &str =
    "prefill  tokens   tokens/s    first token ms: p50       p90       p99  steps   MB/step     GOPS";
const DECODE_HEAD: &str = "decode    depth  sequences   tokens/s   step ms: p50       p90       p99  overhead   MB/step     GB/s   of read";

pub(super) fn table(report: &BenchReport) -> String {
    let model = &report.model;
    let mut text = format!(
        "{} {}, {} parameters, {} threads, {}\n",
        line(model.name.as_deref().unwrap_or(&model.architecture)),
        model.weight_type,
        model.parameters,
        model.threads,
        model.instruction_set
    );
    // Writing to a String cannot fail.
    if !report.prefill.is_empty() {
        let _ = writeln!(text, "\n{PREFILL_HEAD}");
    }
    report.prefill.iter().for_each(|of| text.push_str(&prefill_line(of)));
    if !report.decode.is_empty() {
        let _ = writeln!(text, "\n{DECODE_HEAD}");
    }
    report.decode.iter().for_each(|of| text.push_str(&decode_line(of)));
    text
}

fn prefill_line(of: &PrefillResult) -> String {
    let [p50, p90, p99] = milliseconds(&of.first_token_seconds);
    format!(
        "{:>15} {:>10.1} {p50:>22.1} {p90:>9.1} {p99:>9.1} {:>6} {:>9.1} {:>8.1}\n",
        of.prompt_tokens,
        of.tokens_per_second,
        of.steps,
        of.bytes_per_step as f64 / 1e6,
        of.operations_per_second / 1e9
    )
}

fn decode_line(of: &DecodeResult) -> String {
    let [p50, p90, p99] = milliseconds(&of.step_seconds);
    format!(
        "{:>15} {:>10} {:>10.1} {p50:>14.2} {p90:>9.2} {p99:>9.2} {:>7.1} % {:>9.1} {:>8.1} {:>7.0} %\n",
        of.depth,
        of.sequences,
        of.tokens_per_second,
        100.0 * of.overhead_fraction,
        of.bytes_per_step as f64 / 1e6,
        of.bytes_per_second / 1e9,
        100.0 * of.ceiling_share
    )
}

fn milliseconds(of: &Percentiles) -> [f64; 3] {
    [of.p50, of.p90, of.p99].map(|seconds| seconds * 1e3)
}

#[cfg(test)]
mod tests {
    use ostro_engine::info::{CacheInfo, DeviceInfo, ModelInfo, PublishedSampling};
    use ostro_engine::options::CacheType;

    use super::*;

    fn report() -> BenchReport {
        let seconds = |p50, p90, p99| Percentiles { p50, p90, p99, count: 3 };
        BenchReport {
            model: ModelInfo {
                architecture: "llama".into(),
                name: Some("Small".into()),
                weight_type: "Q4_1".into(),
                parameters: 134_515_008,
                layer_parameters: 106_203_456,
                layers: 30,
                hidden_size: 576,
                vocab_size: 49_152,
                published_sampling: PublishedSampling::default(),
                context_len: 2048,
                model_context_len: 2048,
                weight_bytes: 98_000_000,
                step_weight_bytes: 98_000_000,
                cache: CacheInfo { cache_type: CacheType::F16, block_size: 32, blocks: 64, bytes: 1 << 20 },
                threads: 2,
                instruction_set: "avx2".into(),
                device: DeviceInfo::cpu("avx2"),
                nominal_bytes_per_second: None,
                load_seconds: 0.5,
            },
            prefill: vec![PrefillResult {
                prompt_tokens: 1024,
                tokens_per_second: 512.0,
                seconds: seconds(2.0, 2.1, 2.2),
                first_token_seconds: seconds(2.001, 2.102, 2.203),
                steps: 2,
                bytes_per_step: 121_600_000,
                operations: 217_504_677_888,
                operations_per_second: 108_752_338_944.0,
            }],
            decode: vec![DecodeResult {
                sequences: 16,
                depth: 128,
                decode_tokens: 64,
                tokens_per_second: 1600.0,
                step_seconds: seconds(0.010, 0.0125, 0.025),
                overhead_fraction: 0.0375,
                bytes_per_step: 168_000_000,
                bytes_per_second: 16.8e9,
                ceiling_bytes_per_second: 21e9,
                ceiling_share: 0.8,
            }],
        }
    }

    #[test]
    fn every_column_stands_under_its_name() {
        let expected = "\
Small Q4_1, 134515008 parameters, 2 threads, avx2

prefill  tokens   tokens/s    first token ms: p50       p90       p99  steps   MB/step     GOPS
           1024      512.0                 2001.0    2102.0    2203.0      2     121.6    108.8

decode    depth  sequences   tokens/s   step ms: p50       p90       p99  overhead   MB/step     GB/s   of read
            128         16     1600.0          10.00     12.50     25.00     3.8 %     168.0     16.8      80 %
";
        let found = table(&report());
        assert_eq!(found, expected, "found:\n{found}");
    }

    #[test]
    fn a_model_commands_no_terminal_by_its_name() {
        let mut report = report();
        report.model.name = Some("a\u{1b}[2J".into());
        assert!(table(&report).starts_with("a\\u{1b}[2J Q4_1, "));
    }
}
