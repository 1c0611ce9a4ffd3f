// A queue of work on the model's device, and the few things that a GPU adds to it: graphs and
// events. On a CPU work is done when a call returns, and all of this is nothing. Used by the thread
// that owns the model.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <memory>

namespace llavamini {

class DeviceStream {
 public:
  explicit DeviceStream(const at::Device& device);
  ~DeviceStream();

  // While it lives, the thread's work goes to this stream.
  class Use {
   public:
    explicit Use(const DeviceStream& stream);
    ~Use();

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
  };

  void Synchronize() const;
  // What comes next waits for what is in the other stream so far.
  void Follow(const DeviceStream& other) const;
  // The tensor's memory, of another stream, stays until what is in this one so far is done.
  void Keep(const at::Tensor& tensor) const;
  // Milliseconds that the device takes for what `work` starts, the least of `runs`; 0 on a CPU.
  double Time(const std::function<void()>& work, int runs) const;

  // A point in the stream.
  class Event {
   public:
    Event();
    ~Event();
    Event(Event&&) noexcept;
    Event& operator=(Event&&) noexcept;
    void Record(const DeviceStream& stream);
    // Until what was before it is done. Spins, since to wake a thread takes 0.1 ms.
    void Wait() const;

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
  };

 private:
  friend class Captured;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Work on tensors that stay where they are: recorded once as a CUDA graph, then replayed; on a CPU
// called each time. All captured work of one stream shares its memory, so what a run leaves in
// tensors of its own holds until any other runs.
class Captured {
 public:
  Captured();
  // Runs `work` once before it is recorded (products are timed, memory is found).
  Captured(const DeviceStream& stream, std::function<at::Tensor()> work);
  Captured(Captured&&) noexcept;
  Captured& operator=(Captured&&) noexcept;
  ~Captured();

  // What the work returned.
  at::Tensor Run() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace llavamini
