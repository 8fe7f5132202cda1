// Streams, events, captures and graphs of the fake driver. Work is done when it is submitted, so streams and events
// have nothing to wait for, but for what null_stream.cpp puts off; what is checked is that captures follow the rules of
// the real driver.
#include <pthread.h>

#include <chrono>

#include "driver.h"

namespace {

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

uintptr_t this_thread() { return uintptr_t(pthread_self()); }

constexpr unsigned stream_non_blocking = 1, event_disable_timing = 2;

CUresult create_stream(Stream** stream, unsigned flags, int priority) {
  *stream = driver().streams.add(new Stream{current_context(), flags, priority, nullptr});
  return CUDA_SUCCESS;
}

CUresult run_all(const Graph& graph) {
  for (const Operation& operation : graph.operations)
    if (CUresult error = operation()) return error;
  return CUDA_SUCCESS;
}

CUresult instantiate(Graph** exec, Graph* graph, uint64_t flags) {
  if (!driver().graphs.has(graph)) return CUDA_ERROR_INVALID_HANDLE;
  if ((flags & 1) && (flags & 4)) return CUDA_ERROR_INVALID_VALUE;  // auto free and device launch exclude each other
  *exec = driver().graph_execs.add(new Graph(*graph));
  return CUDA_SUCCESS;
}

CUresult record(Event* event, Stream* handle) {
  Stream* stream = find_stream(handle);
  if (!stream || !driver().events.has(event)) return CUDA_ERROR_INVALID_HANDLE;
  event->recorded = true;
  event->stream = stream;
  event->capture = stream->capture;
  event->time_ms = now_ms();
  return CUDA_SUCCESS;
}

CUresult elapsed(float* ms, Event* start, Event* end) {
  if (!driver().events.has(start) || !driver().events.has(end)) return CUDA_ERROR_INVALID_HANDLE;
  if (!start->recorded || !end->recorded) return CUDA_ERROR_INVALID_HANDLE;
  if ((start->flags | end->flags) & event_disable_timing) return CUDA_ERROR_INVALID_HANDLE;
  if (start->capture || end->capture) return CUDA_ERROR_CAPTURED_EVENT;
  *ms = float(end->time_ms - start->time_ms);
  return CUDA_SUCCESS;
}

bool is_in_progress(const std::shared_ptr<Capture>& capture) { return driver().captures.count(capture) != 0; }

void end_everywhere(const std::shared_ptr<Capture>& capture) {
  driver().captures.erase(capture);
  for (Stream* stream : driver().streams.live)
    if (stream->capture == capture) stream->capture = nullptr;
  for (auto& entry : driver().default_streams)
    if (entry.second->capture == capture) entry.second->capture = nullptr;
}

}  // namespace

Stream* find_stream(Stream* handle) {
  auto reserved = reinterpret_cast<uintptr_t>(handle);
  if (reserved > 2) return driver().streams.has(handle) ? handle : nullptr;
  auto& stream = driver().default_streams[{current_context(), reserved == 1 ? 0 : reserved}];
  if (!stream) stream.reset(new Stream{current_context(), 0, 0, nullptr});
  return stream.get();
}

CUresult invalidate(Stream* stream, CUresult error, const char* why) {
  complain("capture invalidated: %s", why);
  if (stream->capture) stream->capture->invalidated = true;
  return error;
}

CUresult check_unsafe_call() {
  for (auto& capture : driver().captures)
    if (capture->mode == 0 || (capture->mode == 1 && capture->thread == this_thread()))
      return invalidate(capture->origin, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                        "a call that is not allowed during captures (allocation, free, synchronous copy or fill, query)");
  return CUDA_SUCCESS;
}

CUresult submit(Stream* handle, Operation operation) {
  Stream* stream = find_stream(handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (auto& capture = stream->capture) {
    if (capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (stream != capture->origin) capture->unjoined.insert(stream);
    capture->graph->operations.push_back(std::move(operation));
    return CUDA_SUCCESS;
  }
  if (reinterpret_cast<uintptr_t>(handle) < 2)
    for (auto& capture : driver().captures)
      if (!(capture->origin->flags & stream_non_blocking) && capture->origin->context == stream->context)
        return invalidate(capture->origin, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
                          "work in the default stream, which waits for the captured blocking stream");
  if (is_put_off(handle)) {
    put_off(std::move(operation));
    return CUDA_SUCCESS;
  }
  if (stream->flags & stream_non_blocking) overtake_null_stream();
  else if (CUresult error = finish_null_stream()) return error;
  return operation();
}

EXPORT CUresult cuStreamCreate(Stream** stream, unsigned flags) {
  DRIVER_CALL(Context);
  return create_stream(stream, flags, 0);
}
EXPORT CUresult cuStreamCreateWithPriority(Stream** stream, unsigned flags, int priority) {
  DRIVER_CALL(Context);
  return create_stream(stream, flags, priority);
}

EXPORT CUresult cuStreamDestroy_v2(Stream* stream) {
  DRIVER_CALL(Context);
  if (!driver().streams.has(stream)) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture && stream->capture->origin == stream) end_everywhere(stream->capture);
  driver().streams.remove(stream);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamSynchronize(Stream* handle) {
  DRIVER_CALL(Context);
  Stream* stream = find_stream(handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture)
    return invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "cuStreamSynchronize of the captured stream");
  if (stream->flags & stream_non_blocking && !is_null_stream_overtaken()) return CUDA_SUCCESS;
  return finish_null_stream();
}
EXPORT CUresult cuStreamQuery(Stream* stream) { return cuStreamSynchronize(stream); }

EXPORT CUresult cuStreamWaitEvent(Stream* handle, Event* event, unsigned) {
  DRIVER_CALL(Context);
  Stream* stream = find_stream(handle);
  if (!stream || !driver().events.has(event)) return CUDA_ERROR_INVALID_HANDLE;
  if (!event->recorded) return CUDA_SUCCESS;
  if (event->capture && is_in_progress(event->capture)) {
    if (!stream->capture) stream->capture = event->capture;  // it joins the capture
    if (stream->capture != event->capture)
      return invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "wait for an event of another capture");
    if (stream == stream->capture->origin) stream->capture->unjoined.erase(event->stream);
    else stream->capture->unjoined.insert(stream);
    return CUDA_SUCCESS;
  }
  if (stream->capture)
    return invalidate(stream, CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "wait for an event recorded outside the capture");
  return event->capture ? CUDA_ERROR_CAPTURED_EVENT : CUDA_SUCCESS;
}

EXPORT CUresult cuLaunchHostFunc(Stream* stream, void (*function)(void*), void* data) {
  DRIVER_CALL(Context);
  return submit(stream, [=] {
    function(data);
    return CUDA_SUCCESS;
  });
}

EXPORT CUresult cuEventCreate(Event** event, unsigned flags) {
  DRIVER_CALL(Context);
  *event = driver().events.add(new Event(flags));
  return CUDA_SUCCESS;
}

EXPORT CUresult cuEventDestroy_v2(Event* event) {
  DRIVER_CALL(Init);
  return driver().events.remove(event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

EXPORT CUresult cuEventRecord(Event* event, Stream* stream) {
  DRIVER_CALL(Context);
  return record(event, stream);
}
EXPORT CUresult cuEventRecordWithFlags(Event* event, Stream* stream, unsigned) {
  DRIVER_CALL(Context);
  return record(event, stream);
}

EXPORT CUresult cuEventSynchronize(Event* event) {
  DRIVER_CALL(Init);
  if (!driver().events.has(event)) return CUDA_ERROR_INVALID_HANDLE;
  return event->capture ? CUDA_ERROR_CAPTURED_EVENT : CUDA_SUCCESS;
}
EXPORT CUresult cuEventQuery(Event* event) {
  DRIVER_CALL(Init);
  if (CUresult error = check_unsafe_call()) return error;
  if (!driver().events.has(event)) return CUDA_ERROR_INVALID_HANDLE;
  return event->capture ? CUDA_ERROR_CAPTURED_EVENT : CUDA_SUCCESS;
}

EXPORT CUresult cuEventElapsedTime(float* ms, Event* start, Event* end) {
  DRIVER_CALL(Init);
  return elapsed(ms, start, end);
}
EXPORT CUresult cuEventElapsedTime_v2(float* ms, Event* start, Event* end) {
  DRIVER_CALL(Init);
  return elapsed(ms, start, end);
}

EXPORT CUresult cuStreamBeginCapture_v2(Stream* handle, int mode) {
  DRIVER_CALL(Context);
  Stream* stream = find_stream(handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (reinterpret_cast<uintptr_t>(handle) < 2) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  if (stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
  auto capture = std::make_shared<Capture>();
  capture->origin = stream;
  capture->mode = mode;
  capture->thread = this_thread();
  stream->capture = capture;
  driver().captures.insert(capture);
  return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamEndCapture(Stream* handle, Graph** graph) {
  DRIVER_CALL(Context);
  Stream* stream = find_stream(handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  if (graph) *graph = nullptr;
  std::shared_ptr<Capture> capture = stream->capture;
  if (!capture) return CUDA_ERROR_ILLEGAL_STATE;
  if (capture->origin != stream) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  if (capture->mode != 2 && capture->thread != this_thread()) return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  end_everywhere(capture);
  if (capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (!capture->unjoined.empty()) return CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
  *graph = driver().graphs.add(capture->graph.release());
  return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamIsCapturing(Stream* handle, int* status) {
  DRIVER_CALL(Context);
  Stream* stream = find_stream(handle);
  if (!stream) return CUDA_ERROR_INVALID_HANDLE;
  *status = !stream->capture ? 0 : stream->capture->invalidated ? 2 : 1;
  return CUDA_SUCCESS;
}

EXPORT CUresult cuThreadExchangeStreamCaptureMode(int*) { return CUDA_ERROR_NOT_SUPPORTED; }

EXPORT CUresult cuGraphInstantiateWithFlags(Graph** exec, Graph* graph, uint64_t flags) {
  DRIVER_CALL(Context);
  return instantiate(exec, graph, flags);
}
EXPORT CUresult cuGraphInstantiate_v2(Graph** exec, Graph* graph, void*, char*, size_t) {
  DRIVER_CALL(Context);
  return instantiate(exec, graph, 0);
}

EXPORT CUresult cuGraphUpload(Graph* exec, Stream* stream) {
  DRIVER_CALL(Context);
  return driver().graph_execs.has(exec) && find_stream(stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

// In a captured stream the graph becomes a part of the new one, as it is now.
EXPORT CUresult cuGraphLaunch(Graph* exec, Stream* stream) {
  DRIVER_CALL(Context);
  if (!driver().graph_execs.has(exec)) return CUDA_ERROR_INVALID_HANDLE;
  return submit(stream, [graph = *exec] { return run_all(graph); });
}

// Only counts: the nodes themselves are not objects here.
EXPORT CUresult cuGraphGetNodes(Graph* graph, void** nodes, size_t* count) {
  DRIVER_CALL(Init);
  if (!driver().graphs.has(graph)) return CUDA_ERROR_INVALID_HANDLE;
  if (nodes) return CUDA_ERROR_NOT_SUPPORTED;
  *count = graph->operations.size();
  return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphDestroy(Graph* graph) {
  DRIVER_CALL(Init);
  return driver().graphs.remove(graph) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
EXPORT CUresult cuGraphExecDestroy(Graph* exec) {
  DRIVER_CALL(Init);
  return driver().graph_execs.remove(exec) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
