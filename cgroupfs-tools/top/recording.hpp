// SPDX-License-Identifier: GPL-2.0-only
//
// A recording: a file of bounded size, a ring of segments with samples. Whoever reads it while it is written, or after its writer was killed, sees each
// sample that was written whole. sparectl-top(1) documents the form.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "top/codec.hpp"
#include "top/interval.hpp"
#include "top/sample.hpp"
#include "util/fd.hpp"
#include "util/result.hpp"

namespace sparectl::top {

struct RecordingShape {
  static constexpr std::uint32_t version = 1;
  std::uint32_t segments = 16;
  std::uint64_t segment_bytes = 4 << 20;
  // Of a file of at most so many bytes. Nothing: that is less than 1 MiB.
  static std::optional<RecordingShape> of_size(std::uint64_t bytes);
};

// Is there one of that name? (Whatever else is there, it waits for nobody.)
bool is_recording(const std::string& file);

class Recorder {
 public:
  // Makes the file, or goes on with a recording that is there (in its own shape), behind its last sample. An error: it is another kind of file (it is
  // not touched), or somebody else is recording into it.
  static spare::Result<Recorder> open(const std::string& file, RecordingShape shape);
  // Where the ring is full it takes the oldest segment's place. EMSGSIZE: it is too large for a segment, nothing has changed.
  spare::Result<void> add(const Sample& sample);
  [[nodiscard]] const RecordingShape& shape() const { return shape_; }

 private:
  Recorder(spare::Fd fd, std::string file, RecordingShape shape) : fd_(std::move(fd)), file_(std::move(file)), shape_(shape) {}
  void go_on();
  spare::Result<void> put(const std::string& bytes, std::uint64_t at) const;

  spare::Fd fd_;
  std::string file_;
  RecordingShape shape_;
  std::uint64_t sequence_ = 0;  // of the segment that is written
  std::uint64_t at_ = 0;        // in it, where the next record begins; 0: none is begun
  Sample before_;
};

class Recording {
 public:
  static spare::Result<Recording> open(const std::string& file);

  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  // A sample by its number, the oldest is 0. What is damaged is left out by open().
  [[nodiscard]] SamplePtr at(std::size_t i);
  [[nodiscard]] const std::string& file() const { return file_; }
  // In one sample.
  [[nodiscard]] std::size_t most_vms() const { return most_vms_; }

 private:
  struct Entry {
    std::size_t segment;      // in segments_
    std::uint64_t at, length; // of its record in the file, and the length of what is in it
  };
  struct Segment {
    std::uint64_t sequence;
    NameMap names;
  };
  spare::Result<void> index(const RecordingShape& shape);

  spare::Fd fd_;
  std::string file_;
  std::vector<Segment> segments_;  // the oldest first
  std::vector<Entry> entries_;
  std::size_t most_vms_ = 0;
  std::size_t last_ = 0;  // that was decoded; the next ones are decoded from it
  SamplePtr decoded_;
};

}  // namespace sparectl::top
