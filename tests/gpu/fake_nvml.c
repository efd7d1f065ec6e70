/* A libnvidia-ml.so.1 with two GPUs, for processes that load the library themselves. The second falls off the bus once
 * its power has been read three times; the first counts on by 35 J at each reading. */
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15 };

#define MIB (1ull << 20)
#define VERSION_2 0x02000028u
#define CLOCK_MEM 2

typedef struct {
    const char *uuid, *name;
    int major, minor;
    unsigned long long total;
    unsigned power_limit, bus_width, memory_clock, sm_clock;
    atomic_uint readings;
    unsigned readings_left;
} Gpu;

typedef struct {
    unsigned long long total, free, used;
} Memory;

typedef struct {
    unsigned version;
    unsigned long long total, reserved, free, used;
} Memory2;

typedef struct {
    unsigned pid;
    unsigned long long used;
    unsigned gpu_instance, compute_instance;
} Process;

typedef struct {
    unsigned gpu, memory;
} Utilization;

typedef struct {
    unsigned pid;
    unsigned long long time_stamp;
    unsigned sm, memory, encoder, decoder;
} ProcessUse;

static Gpu gpus[] = {
    {"GPU-c0000001", "NVIDIA H200", 9, 0, 143771 * MIB, 700000, 6144, 3201, 1830, 0, ~0u},
    {"GPU-c0000002", "NVIDIA GeForce RTX 4090", 8, 9, 24564 * MIB, 450000, 384, 10501, 2520, 0, 3},
};
static atomic_int opened;

static int state(Gpu *gpu) {
    return !opened ? UNINITIALIZED : gpu->readings > gpu->readings_left ? GPU_IS_LOST : SUCCESS;
}

static int number(Gpu *gpu, unsigned *out, unsigned value) {
    *out = value;
    return state(gpu);
}

static int text(char *out, unsigned size, const char *value) {
    if (strlen(value) >= size) return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return opened ? SUCCESS : UNINITIALIZED;
}

int nvmlInitWithFlags(unsigned flags) {
    if (flags) return NOT_SUPPORTED;
    opened++;
    return SUCCESS;
}

int nvmlShutdown(void) { return opened-- > 0 ? SUCCESS : UNINITIALIZED; }

int nvmlSystemGetDriverVersion(char *out, unsigned size) { return text(out, size, "570.86.15"); }

int nvmlSystemGetCudaDriverVersion_v2(int *out) {
    *out = 12080;
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *out) {
    *out = 2;
    return opened ? SUCCESS : UNINITIALIZED;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Gpu **out) {
    *out = &gpus[index];
    return state(*out);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Gpu **out) {
    for (*out = gpus; *out < gpus + 2; (*out)++)
        if (strcmp((*out)->uuid, uuid) == 0) return state(*out);
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(Gpu *gpu, char *out, unsigned size) { return text(out, size, gpu->uuid); }

int nvmlDeviceGetName(Gpu *gpu, char *out, unsigned size) { return text(out, size, gpu->name); }

int nvmlDeviceGetCudaComputeCapability(Gpu *gpu, int *major, int *minor) {
    *major = gpu->major;
    *minor = gpu->minor;
    return state(gpu);
}

int nvmlDeviceGetMemoryInfo_v2(Gpu *gpu, Memory2 *out) {
    if (out->version != VERSION_2) return NOT_SUPPORTED;
    *out = (Memory2){VERSION_2, gpu->total, 615 * MIB, gpu->total - 622 * MIB, 7 * MIB};
    return state(gpu);
}

int nvmlDeviceGetMemoryInfo(Gpu *gpu, Memory *out) {
    *out = (Memory){gpu->total, gpu->total - 622 * MIB, 622 * MIB};
    return state(gpu);
}

/* The process that asks, and one of which it does not say how much that holds. */
int nvmlDeviceGetComputeRunningProcesses_v3(Gpu *gpu, unsigned *count, Process *out) {
    unsigned room = *count;
    *count = 2;
    if (room < 2) return INSUFFICIENT_SIZE;
    out[0] = (Process){(unsigned)getpid(), 7 * MIB, ~0u, ~0u};
    out[1] = (Process){1, ~0ull, ~0u, ~0u};
    return state(gpu);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(Gpu *gpu, unsigned *count, Process *out) {
    (void)out;
    *count = 0;
    return state(gpu);
}

int nvmlDeviceGetMigMode(Gpu *gpu, unsigned *now, unsigned *next) {
    *now = *next = 0;
    return gpu == gpus ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceIsMigDeviceHandle(Gpu *gpu, unsigned *out) { return number(gpu, out, 0); }

int nvmlDeviceGetEnforcedPowerLimit(Gpu *gpu, unsigned *out) { return number(gpu, out, gpu->power_limit); }

int nvmlDeviceGetMemoryBusWidth(Gpu *gpu, unsigned *out) { return number(gpu, out, gpu->bus_width); }

int nvmlDeviceGetMaxClockInfo(Gpu *gpu, int kind, unsigned *out) {
    return number(gpu, out, kind == CLOCK_MEM ? gpu->memory_clock : gpu->sm_clock);
}

int nvmlDeviceGetClockInfo(Gpu *gpu, int kind, unsigned *out) { return nvmlDeviceGetMaxClockInfo(gpu, kind, out); }

int nvmlDeviceGetPowerUsage(Gpu *gpu, unsigned *out) {
    gpu->readings++;
    return number(gpu, out, gpu->power_limit);
}

int nvmlDeviceGetTotalEnergyConsumption(Gpu *gpu, unsigned long long *out) {
    *out = 5000000000ull + 35000ull * gpu->readings;
    return gpu == gpus ? state(gpu) : NOT_SUPPORTED;
}

int nvmlDeviceGetUtilizationRates(Gpu *gpu, Utilization *out) {
    *out = (Utilization){97, 40};
    return state(gpu);
}

/* Process 7 at 31 % and process 8 at 60 %, at 2 and 3 ms of the driver's clock; an entry that holds garbage; and one of
 * a time that was not asked for. */
int nvmlDeviceGetProcessUtilization(Gpu *gpu, ProcessUse *out, unsigned *count, unsigned long long since) {
    if (gpu != gpus) return NOT_SUPPORTED;
    if (since >= 3000) return NOT_FOUND;
    unsigned room = *count;
    *count = 4;
    if (!out || room < 4) return INSUFFICIENT_SIZE;
    out[0] = (ProcessUse){7, 2000, 31, 1, 0, 0};
    out[1] = (ProcessUse){8, 3000, 60, 2, 0, 0};
    out[2] = (ProcessUse){9, 3000, 2147483632u, 0, 0, 0};
    out[3] = (ProcessUse){10, since, 50, 0, 0, 0};
    return state(gpu);
}

int nvmlDeviceGetTemperature(Gpu *gpu, int sensor, unsigned *out) { return number(gpu, out, 61 + sensor); }

/* By the name that older drivers know, and by no other. */
int nvmlDeviceGetCurrentClocksThrottleReasons(Gpu *gpu, unsigned long long *out) {
    *out = 4;
    return state(gpu);
}
