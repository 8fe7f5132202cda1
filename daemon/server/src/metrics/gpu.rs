//! GPUs: every one that NVIDIA's management library (NVML) shows to this process, read when a scrape asks.
//!
//! What a GPU does not answer is left out; without the library there is no line at all. Never calls NVML while the
//! text is written: `reader` has done so on a thread of its own.

mod reader;

use std::fmt;
use std::path::Path;

use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

pub(super) use reader::GpuReader;

/// The GPUs that `library` (a name or a path) knows; whoever encodes the registry refreshes them before.
pub(super) fn register(library: &Path, registry: &mut Registry) -> GpuReader {
    let reader = GpuReader::start(library);
    registry.register_collector(Box::new(GpuCollector { reader: reader.clone() }));
    reader
}

struct Metric {
    name: &'static str,
    help: &'static str,
    read: fn(&Device<'_>) -> Result<f64, NvmlError>,
}

const METRICS: [Metric; 5] = [
    Metric {
        name: "ostro_gpu_utilization_ratio",
        help: "Part of the last sample period in which a kernel ran on the GPU, 0 to 1",
        read: |gpu| Ok(f64::from(gpu.utilization_rates()?.gpu) / 100.0),
    },
    Metric {
        name: "ostro_gpu_memory_used_bytes",
        help: "Framebuffer memory in use, by any process, without what the driver reserves",
        read: |gpu| Ok(gpu.memory_info()?.used as f64),
    },
    Metric {
        name: "ostro_gpu_memory_total_bytes",
        help: "Framebuffer memory of the GPU",
        read: |gpu| Ok(gpu.memory_info()?.total as f64),
    },
    Metric {
        name: "ostro_gpu_temperature_celsius",
        help: "Temperature of the GPU's die",
        read: |gpu| Ok(f64::from(gpu.temperature(TemperatureSensor::Gpu)?)),
    },
    Metric {
        name: "ostro_gpu_power_watts",
        help: "Power draw of the GPU and its memory",
        read: |gpu| Ok(f64::from(gpu.power_usage()?) / 1000.0), // NVML has milliwatts
    },
];

/// One GPU at one time; its values are in the order of `METRICS`.
#[derive(Debug)]
struct Gpu {
    uuid: String,
    index: u32,
    name: String,
    values: [Option<f64>; METRICS.len()],
}

impl Gpu {
    /// # Errors
    /// The GPU has no UUID to name it by: it is lost.
    fn read(index: u32, device: &Device<'_>) -> Result<Gpu, NvmlError> {
        let uuid = device.uuid()?;
        let name = device.name().unwrap_or_default();
        let values = METRICS.map(|metric| (metric.read)(device).ok());
        Ok(Gpu { uuid, index, name, values })
    }
}

/// Writes the newest readings.
#[derive(Debug)]
struct GpuCollector {
    reader: GpuReader,
}

impl Collector for GpuCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let readings = self.reader.readings();
        for (at, metric) in METRICS.iter().enumerate() {
            let told: Vec<_> =
                readings.gpus().iter().filter_map(|gpu| Some((gpu, gpu.values[at]?))).collect();
            if told.is_empty() {
                continue; // not even a head
            }
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, MetricType::Gauge)?;
            for (gpu, value) in told {
                let index = gpu.index.to_string();
                let labels = [("uuid", gpu.uuid.as_str()), ("gpu", &index), ("name", &gpu.name)];
                family.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}
