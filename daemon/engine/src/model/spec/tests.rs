use super::*;

fn plain() -> DecoderSpec {
    DecoderSpec {
        architecture: "llama".into(),
        layers: 2,
        hidden: 64,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        intermediate: 96,
        vocab: 320,
        context_length: 512,
        norm_eps: 1e-5,
        rotary: Rotary {
            theta: 10_000.0,
            dims: 16,
            style: RotaryStyle::Halves,
            scaling: RotaryScaling::None,
        },
        activation: Activation::Silu,
        qkv_bias: false,
        output_bias: false,
        qk_norm: false,
        tied_head: true,
        attention_scale: 0.25,
    }
}

fn rotary(theta: f64, dims: usize, scaling: RotaryScaling) -> Rotary {
    Rotary { theta, dims, style: RotaryStyle::Halves, scaling }
}

fn llama3() -> Llama3Scaling {
    Llama3Scaling {
        factor: 32.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_context: 8192.0,
    }
}

#[test]
fn frequencies_are_powers_of_the_base() {
    let plain = rotary(10_000.0, 8, RotaryScaling::None).frequencies();
    assert_eq!(plain, [1.0, 0.1, 0.01, 0.001]);
    let linear = rotary(10_000.0, 8, RotaryScaling::Linear { factor: 4.0 }).frequencies();
    assert_eq!(linear, [0.25, 0.025, 0.0025, 0.00025]);
    let factors = rotary(10_000.0, 8, RotaryScaling::Factors(vec![1.0, 2.0, 4.0, 8.0])).frequencies();
    assert_eq!(factors, [1.0, 0.05, 0.0025, 0.000125]);
}

/// Expected: the `llama3` function of transformers 4.57 (modeling_rope_utils.py), computed in f64.
#[test]
fn llama3_scaling_keeps_high_frequencies_and_divides_low_ones() {
    let found = rotary(500_000.0, 64, RotaryScaling::Llama3(llama3())).frequencies();
    let expected = [
        (0, 1.0),
        (1, 0.663_601_237_7),
        (12, 0.007_292_664_737),
        (14, 0.003_211_445_995),
        (15, 0.001_290_547_928),
        (16, 0.000_429_556_797),
        (17, 9.708_287_80e-5),
        (18, 1.946_163_82e-5),
        (31, 9.418_306_73e-8),
    ];
    for (pair, frequency) in expected {
        let error: f64 = f64::from(found[pair]) / frequency - 1.0;
        assert!(error.abs() < 1e-7, "{pair}: {} for {frequency}", found[pair]);
    }
}

#[test]
fn specs_the_decoder_cannot_run_are_refused() {
    assert_eq!(plain().check(), Ok(()));
    let check = |change: &dyn Fn(&mut DecoderSpec), expected: &str| {
        let mut spec = plain();
        change(&mut spec);
        assert_eq!(spec.check().expect_err("refused").to_string(), expected);
    };
    check(&|spec| spec.layers = 0, "the number of layers is 0, allowed is 1 to 1024");
    check(
        &|spec| spec.hidden = usize::MAX,
        "the hidden size is 18446744073709551615, allowed is 1 to 1048576",
    );
    check(&|spec| spec.kv_heads = 0, "the number of key-value heads is 0, allowed is 1 to 4");
    check(
        &|spec| spec.kv_heads = 3,
        "the number of heads is 4, allowed is a multiple of the 3 key-value heads",
    );
    check(&|spec| spec.head_dim = 20, "the size of a head is 20, allowed is a multiple of 8");
    check(&|spec| spec.head_dim = 512, "the size of a head is 512, allowed is 8 to 256");
    check(&|spec| spec.vocab = 0, "the vocabulary is 0, allowed is 1 to 16777216");
    check(
        &|spec| spec.norm_eps = f32::NAN,
        "the epsilon of the norms is NaN, allowed is above 0 and below 1",
    );
    check(
        &|spec| spec.rotary.theta = f64::INFINITY,
        "the rotary base is inf, allowed is finite and at least 1",
    );
    let dims = "allowed is even and at most the head's 16";
    check(&|spec| spec.rotary.dims = 18, &format!("the number of rotary dimensions is 18, {dims}"));
    check(&|spec| spec.rotary.dims = 7, &format!("the number of rotary dimensions is 7, {dims}"));
    let zero = "the rotary scaling factor is 0, allowed is finite and above 0";
    check(&|spec| spec.rotary.scaling = RotaryScaling::Linear { factor: 0.0 }, zero);
    let few = "the number of rotary factors is 3, allowed is 8, one for each pair of rotary dimensions";
    check(&|spec| spec.rotary.scaling = RotaryScaling::Factors(vec![1.0; 3]), few);
    let mut turned = llama3();
    turned.high_frequency_factor = 0.5;
    let order = "the high frequency factor is 0.5, allowed is above the low frequency factor 1";
    check(&|spec| spec.rotary.scaling = RotaryScaling::Llama3(turned), order);
}
