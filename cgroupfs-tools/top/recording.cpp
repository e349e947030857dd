// SPDX-License-Identifier: GPL-2.0-only
#include "top/recording.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>

namespace sparectl::top {
namespace {

using spare::Error;
using spare::Result;

constexpr std::string_view file_magic = "sparectl recording\n\x1a", segment_magic = "segment\n";
constexpr std::uint64_t header_bytes = 4096;
constexpr std::uint64_t record_header = 8;  // its length, its checksum
// (What somebody else's file makes us have in memory is some multiple of a segment.)
constexpr std::uint64_t least_segment = 60 << 10, most_segment = 64 << 20, most_names = 64 << 10;
constexpr std::uint32_t least_segments = 16, most_segments = 1024;
constexpr std::uint64_t least_bytes = 1 << 20;
static_assert((least_bytes - header_bytes) / least_segments >= least_segment);

// Little endian, as long as the number's type.
template <typename T>
std::string fixed(T n) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof(T); i++) {
    bytes += static_cast<char>(n >> (8 * i) & 0xff);
  }
  return bytes;
}

template <typename T>
T fixed_at(std::string_view bytes, std::size_t at) {
  T n = 0;
  for (std::size_t i = 0; i < sizeof(T) && at + i < bytes.size(); i++) {
    n = static_cast<T>(n | static_cast<T>(static_cast<unsigned char>(bytes[at + i])) << (8 * i));
  }
  return n;
}

std::uint32_t checksum(std::string_view bytes, std::uint64_t seed) {
  const std::string first = fixed(seed);
  const auto crc = ::crc32(0, reinterpret_cast<const Bytef*>(first.data()), static_cast<uInt>(first.size()));
  return static_cast<std::uint32_t>(::crc32(crc, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

std::string header_of(const RecordingShape& shape) {
  std::string text(file_magic);
  text += fixed(RecordingShape::version) + fixed(shape.segments) + fixed(shape.segment_bytes);
  text += fixed(checksum(text, 0));
  text.resize(header_bytes, '\0');
  return text;
}

// Whole, or nothing.
std::optional<std::string> read_at(int fd, std::uint64_t at, std::uint64_t length) {
  std::string bytes(length, '\0');
  std::uint64_t got = 0;
  while (got < length) {
    const ssize_t n = ::pread(fd, bytes.data() + got, length - got, static_cast<off_t>(at + got));
    if (n <= 0) {
      if (n < 0 && errno == EINTR) {
        continue;
      }
      return std::nullopt;
    }
    got += static_cast<std::uint64_t>(n);
  }
  return bytes;
}

Result<RecordingShape> shape_of(int fd, const std::string& file) {
  const auto bytes = read_at(fd, 0, file_magic.size() + 20);
  if (!bytes || !bytes->starts_with(file_magic)) {
    return Error{fmt::format("{} is no recording of sparectl's: it is left as it is; give another name", file)};
  }
  const std::size_t at = file_magic.size();
  const auto version = fixed_at<std::uint32_t>(*bytes, at);
  if (version != RecordingShape::version) {
    return Error{fmt::format("{} is a recording of version {}, this sparectl knows version {}: read it with the sparectl that wrote it", file, version, std::uint32_t{RecordingShape::version})};
  }
  const RecordingShape shape{fixed_at<std::uint32_t>(*bytes, at + 4), fixed_at<std::uint64_t>(*bytes, at + 8)};
  if (fixed_at<std::uint32_t>(*bytes, at + 16) != checksum(std::string_view(*bytes).substr(0, at + 16), 0) || shape.segments < 2 ||
      shape.segments > most_segments || shape.segment_bytes < least_segment || shape.segment_bytes > most_segment) {
    return Error{fmt::format("{}: its first page is damaged", file)};
  }
  return shape;
}

// What a segment begins with.
std::string segment_header(std::uint64_t sequence) {
  const std::string names = encode_names();
  std::string bytes(segment_magic);
  bytes += fixed(sequence) + fixed(static_cast<std::uint32_t>(names.size())) + fixed(checksum(names, sequence)) + names;
  return bytes;
}

struct SegmentHeader {
  std::uint64_t sequence, bytes;
  NameMap names;
  bool ours;  // its names are this version's
};

std::optional<SegmentHeader> segment_header_at(int fd, std::uint64_t at) {
  const auto head = read_at(fd, at, segment_magic.size() + 16);
  if (!head || !head->starts_with(segment_magic)) {
    return std::nullopt;
  }
  const auto sequence = fixed_at<std::uint64_t>(*head, segment_magic.size());
  const auto length = fixed_at<std::uint32_t>(*head, segment_magic.size() + 8);
  const auto names = length <= most_names ? read_at(fd, at + head->size(), length) : std::nullopt;
  if (!names || checksum(*names, sequence) != fixed_at<std::uint32_t>(*head, segment_magic.size() + 12)) {
    return std::nullopt;
  }
  auto map = NameMap::decode(*names);
  return map ? std::optional(SegmentHeader{sequence, head->size() + length, std::move(*map), *names == encode_names()}) : std::nullopt;
}

std::uint64_t place_of(std::uint64_t sequence, const RecordingShape& shape) { return header_bytes + sequence % shape.segments * shape.segment_bytes; }

// Those that are whole, the oldest first.
std::vector<SegmentHeader> segments_of(int fd, const RecordingShape& shape) {
  std::vector<SegmentHeader> found;
  for (std::uint32_t i = 0; i < shape.segments; i++) {
    auto header = segment_header_at(fd, place_of(i, shape));
    if (header && place_of(header->sequence, shape) == place_of(i, shape)) {
      found.push_back(std::move(*header));
    }
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.sequence < b.sequence; });
  return found;
}

// Calls take(place, length, sample) with each record of a segment; the end of the last one that is whole.
template <typename Take>
std::uint64_t each_record(int fd, const RecordingShape& shape, const SegmentHeader& segment, Take take) {
  const std::uint64_t end = place_of(segment.sequence, shape) + shape.segment_bytes;
  std::uint64_t at = place_of(segment.sequence, shape) + segment.bytes;
  for (Sample before; at + record_header <= end;) {
    const auto head = read_at(fd, at, record_header);
    const std::uint64_t length = head ? fixed_at<std::uint32_t>(*head, 0) : 0;
    const auto payload = length != 0 && length <= end - at - record_header ? read_at(fd, at + record_header, length) : std::nullopt;
    if (!payload || checksum(*payload, segment.sequence) != fixed_at<std::uint32_t>(*head, 4)) {
      break;
    }
    auto sample = decode(before, *payload, segment.names);
    if (!sample) {
      break;
    }
    before = std::move(*sample);
    take(at, length, before);
    at += record_header + length;
  }
  return at;
}

// A regular file, and nothing that waits for somebody.
Result<spare::Fd> open_file(const std::string& file, int flags) {
  spare::Fd fd(::open(file.c_str(), flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640));
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0) {
    return spare::errno_error(file);
  }
  if (!S_ISREG(info.st_mode)) {
    return Error{file + " is no regular file: give another name", EINVAL};
  }
  return fd;
}

}  // namespace

bool is_recording(const std::string& file) {
  const auto fd = open_file(file, O_RDONLY);
  return fd && read_at(fd->get(), 0, file_magic.size()) == file_magic;
}

std::optional<RecordingShape> RecordingShape::of_size(std::uint64_t bytes) {
  RecordingShape shape;
  if (bytes < least_bytes) {
    return std::nullopt;
  }
  shape.segments = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(bytes / most_segment, least_segments, most_segments));
  shape.segment_bytes = std::min((bytes - header_bytes) / shape.segments, most_segment);
  return shape;
}

Result<Recorder> Recorder::open(const std::string& file, RecordingShape shape) {
  auto fd = open_file(file, O_RDWR | O_CREAT);
  if (!fd) {
    return fd.error();
  }
  if (::flock(fd->get(), LOCK_EX | LOCK_NB) != 0) {
    return errno == EWOULDBLOCK ? Error{file + ": another sparectl is recording into it", EBUSY} : spare::errno_error(file);
  }
  struct stat info {};
  if (::fstat(fd->get(), &info) != 0) {
    return spare::errno_error(file);
  }
  if (info.st_size == 0) {
    Recorder recorder(std::move(*fd), file, shape);
    const auto put = recorder.put(header_of(shape), 0);
    return put ? Result<Recorder>(std::move(recorder)) : put.error();
  }
  const auto there = shape_of(fd->get(), file);
  if (!there) {
    return there.error();
  }
  Recorder recorder(std::move(*fd), file, *there);
  recorder.go_on();
  return recorder;
}

// Behind the last whole sample of the latest segment; where another version has begun that, with a new one.
void Recorder::go_on() {
  const auto segments = segments_of(fd_.get(), shape_);
  if (segments.empty()) {
    return;
  }
  const SegmentHeader& latest = segments.back();
  sequence_ = latest.sequence + (latest.ours ? 0 : 1);
  if (latest.ours) {
    at_ = each_record(fd_.get(), shape_, latest, [this](std::uint64_t, std::uint64_t, const Sample& sample) { before_ = sample; }) - place_of(sequence_, shape_);
  }
}

// In one write: killed, it leaves all of it or a part of it behind, and a part has no checksum.
Result<void> Recorder::put(const std::string& bytes, std::uint64_t at) const {
  ssize_t n;
  do {
    n = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    return spare::errno_error(file_);
  }
  return static_cast<std::size_t>(n) == bytes.size() ? Result<void>() : Error{file_ + ": there is no more room", ENOSPC};
}

Result<void> Recorder::add(const Sample& sample) {
  std::string payload = encode(before_, sample), header;
  std::uint64_t sequence = sequence_, at = at_;
  if (at == 0 || at + record_header + payload.size() > shape_.segment_bytes) {
    sequence += at == 0 ? 0 : 1;
    header = segment_header(sequence);
    payload = encode(Sample(), sample);
    at = 0;
  }
  if (!fits(sample) || at + header.size() + record_header + payload.size() > shape_.segment_bytes) {
    return Error{fmt::format("{}: a sample of {} VMs does not fit into a segment of {} bytes and is left out: record into another file, with a larger --size", file_, sample.vms.size(), shape_.segment_bytes), EMSGSIZE};
  }
  std::string bytes = header + fixed(static_cast<std::uint32_t>(payload.size())) + fixed(checksum(payload, sequence)) + payload;
  const std::uint64_t end = at + bytes.size();
  // What is left behind it may be a record of this segment, where one before that was damaged.
  bytes.append(std::min(record_header, shape_.segment_bytes - end), '\0');
  if (auto done = put(bytes, place_of(sequence, shape_) + at); !done) {
    return done;
  }
  sequence_ = sequence;
  at_ = end;
  before_ = sample;
  return {};
}

Result<Recording> Recording::open(const std::string& file) {
  auto fd = open_file(file, O_RDONLY);
  if (!fd) {
    return fd.error();
  }
  const auto shape = shape_of(fd->get(), file);
  if (!shape) {
    return shape.error();
  }
  Recording recording;
  recording.fd_ = std::move(*fd);
  recording.file_ = file;
  if (auto indexed = recording.index(*shape); !indexed) {
    return indexed.error();
  }
  return recording;
}

Result<void> Recording::index(const RecordingShape& shape) {
  for (auto& segment : segments_of(fd_.get(), shape)) {
    each_record(fd_.get(), shape, segment, [&](std::uint64_t at, std::uint64_t length, const Sample& sample) {
      entries_.push_back({segments_.size(), at, length});
      most_vms_ = std::max(most_vms_, sample.vms.size());
    });
    segments_.push_back({segment.sequence, std::move(segment.names)});
  }
  return entries_.empty() ? Result<void>(Error{file_ + " has no samples"}) : Result<void>();
}

SamplePtr Recording::at(std::size_t i) {
  if (decoded_ && i == last_) {
    return decoded_;
  }
  // From the last one if it is before it in the segment, else from the segment's beginning.
  std::size_t from = i;
  while (from > 0 && entries_[from - 1].segment == entries_[i].segment && !(decoded_ && from - 1 == last_)) {
    from--;
  }
  SamplePtr before = decoded_ && from > 0 && from - 1 == last_ && entries_[last_].segment == entries_[i].segment ? decoded_ : std::make_shared<const Sample>();
  for (std::size_t k = from; k <= i; k++) {
    const auto& [segment, at, length] = entries_[k];
    const std::string record = read_at(fd_.get(), at, record_header + length).value_or(std::string(record_header, '\0'));
    const auto payload = std::string_view(record).substr(record_header);
    const bool same = fixed_at<std::uint32_t>(record, 0) == length && fixed_at<std::uint32_t>(record, 4) == checksum(payload, segments_[segment].sequence);
    auto sample = same ? decode(*before, payload, segments_[segment].names) : Result<Sample>(Error{});
    if (!sample) {  // its writer has come round meanwhile
      return before;
    }
    before = std::make_shared<const Sample>(std::move(*sample));
  }
  last_ = i;
  decoded_ = before;
  return decoded_;
}

}  // namespace sparectl::top
