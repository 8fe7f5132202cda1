/* Two GPUs of known values behind the part of NVML's interface that the metrics use (nvml.h of CUDA 13).
 *
 * FOLDER comes from the test. Each count of the devices adds a byte to FOLDER/counts; a file FOLDER/lost takes the
 * second GPU off the bus, FOLDER/hang makes every count take five seconds. FIRST_UUID may come from the test too.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef FIRST_UUID
#define FIRST_UUID "GPU-00000000-0000-4000-8000-000000000001"
#endif

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, GPU_IS_LOST = 15 };

struct gpu {
    const char *uuid, *name;
    unsigned busy_percent, celsius, milliwatts;
    unsigned long long total, reserved, used;
};
struct utilization { unsigned gpu, memory; };
struct memory { unsigned version; unsigned long long total, reserved, free, used; };

static struct gpu gpus[] = {
    {FIRST_UUID, "NVIDIA H100 80GB HBM3", 37, 41, 123456, 85520809984, 600000000,
     1073741824},
    {"GPU-00000000-0000-4000-8000-000000000002", "NVIDIA H100 80GB HBM3", 100, 68, 0, 85520809984, 600000000,
     42949672960},
};

static int is_there(const char *path) { return access(path, F_OK) == 0; }

static int lost(const struct gpu *gpu) { return gpu == &gpus[1] && is_there(FOLDER "/lost"); }

static int text(const struct gpu *gpu, const char *from, char *to, unsigned length) {
    if (lost(gpu)) return GPU_IS_LOST;
    if (strlen(from) >= length) return INVALID_ARGUMENT;
    strcpy(to, from);
    return SUCCESS;
}

int nvmlInit_v2(void) { return SUCCESS; }

int nvmlShutdown(void) { return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    FILE *counts = fopen(FOLDER "/counts", "a");
    if (counts) {
        fputc('.', counts);
        fclose(counts);
    }
    if (is_there(FOLDER "/hang")) sleep(5);
    *count = 2;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct gpu **gpu) {
    if (index > 1) return INVALID_ARGUMENT;
    *gpu = &gpus[index];
    return SUCCESS;
}

int nvmlDeviceGetUUID(struct gpu *gpu, char *uuid, unsigned length) { return text(gpu, gpu->uuid, uuid, length); }

int nvmlDeviceGetName(struct gpu *gpu, char *name, unsigned length) { return text(gpu, gpu->name, name, length); }

int nvmlDeviceGetUtilizationRates(struct gpu *gpu, struct utilization *rates) {
    if (lost(gpu)) return GPU_IS_LOST;
    *rates = (struct utilization){gpu->busy_percent, 5};
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(struct gpu *gpu, struct memory *memory) {
    if (lost(gpu)) return GPU_IS_LOST;
    if (memory->version != (sizeof *memory | 2u << 24)) return INVALID_ARGUMENT;
    memory->total = gpu->total;
    memory->reserved = gpu->reserved;
    memory->used = gpu->used;
    memory->free = gpu->total - gpu->reserved - gpu->used;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(struct gpu *gpu, int sensor, unsigned *celsius) {
    if (lost(gpu)) return GPU_IS_LOST;
    if (sensor != 0) return INVALID_ARGUMENT;
    *celsius = gpu->celsius;
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(struct gpu *gpu, unsigned *milliwatts) {
    if (lost(gpu)) return GPU_IS_LOST;
    if (gpu->milliwatts == 0) return NOT_SUPPORTED;
    *milliwatts = gpu->milliwatts;
    return SUCCESS;
}
