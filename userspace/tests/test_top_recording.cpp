// SPDX-License-Identifier: GPL-2.0-only
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "top/bytes.hpp"
#include "top/report.hpp"
#include "top/recording.hpp"
#include "top_samples.hpp"

namespace {

class Dir {
 public:
  Dir() {
    std::string name = "/tmp/spare-test-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~Dir() { std::filesystem::remove_all(path_); }
  Dir(const Dir&) = delete;
  Dir& operator=(const Dir&) = delete;
  [[nodiscard]] std::string file(const char* name = "rec") const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

std::string content(const std::string& file) {
  std::stringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}
void put(const std::string& file, const std::string& text) { std::ofstream(file, std::ios::binary | std::ios::trunc) << text; }

std::vector<top::Sample> random_samples(std::uint64_t seed, std::size_t n) {
  std::mt19937_64 random(seed);
  std::vector<top::Sample> samples = {sample_of(0, {})};
  while (samples.size() < n) {
    samples.push_back(random_successor(samples.back(), random));
  }
  return samples;
}

const top::RecordingShape small{4, 64 << 10};

void record(const std::string& file, const std::vector<top::Sample>& samples, std::size_t from, std::size_t to, top::RecordingShape shape = small) {
  auto recorder = top::Recorder::open(file, shape);
  REQUIRE(recorder);
  for (std::size_t i = from; i < to; i++) {
    REQUIRE(recorder->add(samples[i]));
  }
}

// The error's text; empty: there is none.
template <typename T>
std::string error_of(const spare::Result<T>& result) { return result ? "" : result.error().text; }

}  // namespace

TEST_CASE("record: what was written is read, in any order") {
  const Dir dir;
  const auto samples = random_samples(2, 60);
  record(dir.file(), samples, 0, 60);
  auto recording = top::Recording::open(dir.file());
  REQUIRE(recording);
  REQUIRE(recording->size() == 60);
  for (std::size_t i = 0; i < 60; i++) {
    REQUIRE(*recording->at(i) == samples[i]);
  }
  std::mt19937_64 random(3);
  for (int i = 0; i < 100; i++) {
    const auto at = random() % 60;
    REQUIRE(*recording->at(at) == samples[at]);
  }
}

TEST_CASE("record: the file is bounded, and has the last samples; who goes on with it loses none of them") {
  const Dir dir;
  const auto samples = random_samples(4, 800);
  for (std::size_t from = 0; from < 800; from += 200) {
    record(dir.file(), samples, from, from + 200);
    REQUIRE(std::filesystem::file_size(dir.file()) <= 4096 + small.segments * small.segment_bytes);
    auto recording = top::Recording::open(dir.file());
    REQUIRE(recording);
    const std::size_t n = recording->size();
    REQUIRE(n > 20);
    for (std::size_t i = 0; i < n; i++) {
      REQUIRE(*recording->at(i) == samples[from + 200 - n + i]);
    }
  }
  CHECK(top::Recording::open(dir.file())->size() < 800);
}

TEST_CASE("record: a file of the least size, and of the largest, can be read") {
  const Dir dir;
  CHECK_FALSE(top::RecordingShape::of_size((1 << 20) - 1));
  const auto samples = random_samples(12, 3);
  for (const std::uint64_t size : {std::uint64_t{1} << 20, std::uint64_t{1} << 30, std::uint64_t{10} << 30, std::uint64_t{1} << 50}) {
    const auto shape = top::RecordingShape::of_size(size);
    REQUIRE(shape);
    CHECK(4096 + shape->segments * shape->segment_bytes <= size);
    std::filesystem::remove(dir.file());
    record(dir.file(), samples, 0, 3, *shape);
    const auto recording = top::Recording::open(dir.file());
    REQUIRE(recording);
    CHECK(recording->size() == 3);
  }
  CHECK(top::RecordingShape::of_size(std::uint64_t{10} << 30)->segments == 160);
}

TEST_CASE("record: many short runs go on in the same segment, also after a writer was killed") {
  const Dir dir;
  const auto samples = random_samples(13, 40);
  for (std::size_t i = 0; i < 40; i++) {
    record(dir.file(), samples, i, i + 1);
    if (i == 20) {  // in the middle of the 21st
      std::string all = content(dir.file());
      all.resize(all.find_last_not_of('\0') - 3);
      put(dir.file(), all);
    }
  }
  auto recording = top::Recording::open(dir.file());
  REQUIRE(recording);
  REQUIRE(recording->size() == 39);
  for (std::size_t i = 0; i < 39; i++) {
    REQUIRE(*recording->at(i) == samples[i < 20 ? i : i + 1]);
  }
  CHECK(std::filesystem::file_size(dir.file()) < 4096 + small.segment_bytes);
}

TEST_CASE("record: what is left of the segment behind a damaged sample is not read behind the next one") {
  const Dir dir;
  std::vector<top::Sample> samples;
  std::vector<std::size_t> ends;
  for (int i = 0; i < 6; i++) {  // records of one length
    samples.push_back(sample_of(i, {vm_of("/vm/a", {{top::Counter::used_ns, 1000 + 100 * static_cast<unsigned>(i)}})}));
    record(dir.file(), samples, samples.size() - 1, samples.size());
    ends.push_back(std::filesystem::file_size(dir.file()) - 8);
  }
  REQUIRE(ends[5] - ends[4] == ends[4] - ends[3]);
  std::string all = content(dir.file());
  all[ends[3] - 1] ^= 1;  // of the fourth
  put(dir.file(), all);
  record(dir.file(), samples, 5, 6);
  auto recording = top::Recording::open(dir.file());
  REQUIRE(recording);
  REQUIRE(recording->size() == 4);
  CHECK(*recording->at(3) == samples[5]);
}

TEST_CASE("record: a sample that is too large is left out, and takes nobody's place") {
  const Dir dir;
  const auto samples = random_samples(14, 6);
  record(dir.file(), samples, 0, 3);
  const std::string before = content(dir.file());
  auto recorder = top::Recorder::open(dir.file(), small);
  REQUIRE(recorder);
  auto large = sample_of(9, {vm_of("/vm/" + std::string(70000, 'x'))});
  for (int i = 0; i < 20; i++) {
    const auto added = recorder->add(large);
    REQUIRE_FALSE(added);
    REQUIRE(added.error().code == EMSGSIZE);
  }
  CHECK((content(dir.file()) == before));
  REQUIRE(recorder->add(samples[3]));
  CHECK(top::Recording::open(dir.file())->size() == 4);
  // There is room for it, but nobody would read it.
  auto roomy = top::Recorder::open(dir.file("roomy"), {2, 32 << 20});
  REQUIRE(roomy);
  std::vector<top::VmSample> vms(16384, vm_of("/vm/a"));
  REQUIRE(roomy->add(sample_of(9, vms)));
  vms.push_back(vm_of("/vm/a"));
  CHECK_FALSE(roomy->add(sample_of(10, vms)));
  vms.resize(1);
  vms[0].servers.resize((1 << 20) + 1);
  CHECK_FALSE(roomy->add(sample_of(10, vms)));
  CHECK(top::Recording::open(dir.file("roomy"))->size() == 1);
}

TEST_CASE("record: while its writer comes round, whoever has opened it before gets what was written, or nothing new") {
  const Dir dir;
  std::vector<top::Sample> samples;
  for (std::uint64_t i = 0, used_ns = 1 << 28; i < 8000; i++, used_ns += 100 + i % 19) {  // of one length: the last round's records have the first one's places
    samples.push_back(sample_of(100000 + static_cast<double>(i), {vm_of("/vm/a", {{top::Counter::used_ns, used_ns}})}));
  }
  record(dir.file(), samples, 0, 20);
  auto recording = top::Recording::open(dir.file());
  REQUIRE(recording);
  REQUIRE(*recording->at(0) == samples[0]);
  record(dir.file(), samples, 20, 8000);
  REQUIRE(!(*top::Recording::open(dir.file())->at(0) == samples[0]));
  for (std::size_t i = 1; i < 20; i++) {
    const auto sample = recording->at(i);
    REQUIRE((*sample == samples[0] || *sample == samples[i]));
  }
}

TEST_CASE("record: a few bytes do not make many gigabytes, nor a sample that takes hours") {
  const auto map = top::NameMap::decode(top::encode_names());
  REQUIRE(map);
  const auto head = [] {
    top::ByteWriter to;
    for (int i = 0; i < 7; i++) {  // two clocks, two texts, flags, limit, what is missing
      to.number(0);
    }
    return to;
  };
  auto vms = head();
  vms.number(0);
  vms.number(1 << 20);
  CHECK(error_of(top::decode({}, vms.take() + std::string(7 << 20, '\0'), *map)).find("more VMs") != std::string::npos);
  auto cpus = head();
  cpus.number(1 << 20);
  CHECK(error_of(top::decode({}, cpus.take() + std::string(7 << 20, '\0'), *map)).find("CPUs") != std::string::npos);
  auto servers = head();
  servers.number(0);
  servers.number(1);
  for (int i = 0; i < 6; i++) {  // new, path, id, flags, values that went, that came
    servers.number(0);
  }
  servers.number(2 << 20);
  CHECK(error_of(top::decode({}, servers.take() + std::string(20 << 20, '\0'), *map)).find("more servers") != std::string::npos);
}

TEST_CASE("record: cut off anywhere, it has each sample that is whole") {
  const Dir dir;
  const auto samples = random_samples(5, 12);
  record(dir.file(), samples, 0, 12);
  const std::string all = content(dir.file());
  std::size_t last = 0;
  for (std::size_t length = 0; length <= all.size(); length += 1 + length / 300) {
    put(dir.file("cut"), all.substr(0, length));
    auto cut = top::Recording::open(dir.file("cut"));
    const std::size_t n = cut ? cut->size() : 0;
    REQUIRE(n >= last);
    for (std::size_t i = last; i < n; i++) {
      REQUIRE(*cut->at(i) == samples[i]);
    }
    last = n;
  }
  put(dir.file("cut"), all);
  CHECK(top::Recording::open(dir.file("cut"))->size() == 12);
}

TEST_CASE("record: a file of another kind is refused by name, and stays as it is") {
  const Dir dir;
  put(dir.file("notes"), "my notes, which are long enough to have a header in them");
  CHECK(error_of(top::Recorder::open(dir.file("notes"), small)).find("notes is no recording of sparectl's") != std::string::npos);
  CHECK(error_of(top::Recording::open(dir.file("notes"))).find("no recording") != std::string::npos);
  CHECK(content(dir.file("notes")) == "my notes, which are long enough to have a header in them");
  ::mkfifo(dir.file("fifo").c_str(), 0600);
  CHECK(error_of(top::Recorder::open(dir.file("fifo"), small)).find("no regular file") != std::string::npos);
  CHECK(error_of(top::Recorder::open("/dev/null", small)).find("no regular file") != std::string::npos);
  CHECK(error_of(top::Recording::open(dir.file("none"))).find("No such file") != std::string::npos);
  record(dir.file(), {}, 0, 0);
  CHECK(error_of(top::Recording::open(dir.file())).find("has no samples") != std::string::npos);
}

TEST_CASE("record: another version's file is refused, with the version") {
  const Dir dir;
  record(dir.file(), random_samples(6, 3), 0, 3);
  std::string all = content(dir.file());
  all[20] = 2;
  put(dir.file(), all);
  CHECK(error_of(top::Recording::open(dir.file())).find("of version 2, this sparectl knows version 1") != std::string::npos);
  CHECK(error_of(top::Recorder::open(dir.file(), small)).find("version 2") != std::string::npos);
}

TEST_CASE("record: one writer at a time") {
  const Dir dir;
  const auto first = top::Recorder::open(dir.file(), small);
  REQUIRE(first);
  CHECK(error_of(top::Recorder::open(dir.file(), small)).find("another sparectl is recording") != std::string::npos);
}

TEST_CASE("record: counters of a later version are left out, those that it has no longer are not known") {
  const top::Sample sample = sample_of(0, {vm_of("/vm/a", {{top::Counter::used_ns, 7}, {top::Counter::runs, 9}})});
  const std::string bytes = top::encode(top::Sample(), sample);
  std::string names = top::encode_names();
  const auto at = names.find("used_ns");
  REQUIRE(at != std::string::npos);
  names.replace(at, 7, "later_x");
  const auto map = top::NameMap::decode(names);
  REQUIRE(map);
  const auto read = top::decode(top::Sample(), bytes, *map);
  REQUIRE(read);
  CHECK_FALSE(read->vms[0].values.get(top::Counter::used_ns));
  CHECK(read->vms[0].values.get(top::Counter::runs) == 9U);
}

TEST_CASE("record: damaged files: what is read is what was written, or nothing; never a crash") {
  const Dir dir;
  const auto samples = random_samples(7, 30);
  record(dir.file(), samples, 0, 30);
  const std::string all = content(dir.file());
  std::mt19937_64 random(8);
  for (int round = 0; round < 400; round++) {
    std::string damaged = all;
    for (auto n = 1 + random() % 4; n > 0; n--) {
      damaged[random() % damaged.size()] ^= static_cast<char>(1 << random() % 8);
    }
    put(dir.file("damaged"), damaged);
    auto recording = top::Recording::open(dir.file("damaged"));
    std::size_t next = 0;
    for (std::size_t i = 0; recording && i < recording->size(); i++) {
      const auto sample = recording->at(i);
      while (next < samples.size() && !(samples[next] == *sample)) {
        next++;
      }
      REQUIRE(next++ < samples.size());
    }
  }
}

TEST_CASE("record: bytes that somebody made, with a checksum: no crash, no endless memory") {
  const auto map = top::NameMap::decode(top::encode_names());
  REQUIRE(map);
  const auto samples = random_samples(9, 20);
  std::mt19937_64 random(10);
  std::size_t read = 0;
  for (int round = 0; round < 20000; round++) {
    const auto i = 1 + random() % 19;
    std::string bytes = top::encode(samples[i - 1], samples[i]);
    for (auto n = 1 + random() % 3; n > 0; n--) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    bytes.resize(random() % 4 == 0 ? random() % (bytes.size() + 1) : bytes.size());
    const auto sample = top::decode(samples[i - 1], bytes, *map);
    if (sample) {
      read++;
      REQUIRE(sample->vms.size() <= samples[i - 1].vms.size() + bytes.size());
      REQUIRE(std::is_sorted(sample->vms.begin(), sample->vms.end(), [](const auto& a, const auto& b) { return a.path < b.path; }));
    }
    static_cast<void>(top::NameMap::decode(bytes));
  }
  CHECK(read > 0);
}

TEST_CASE("report: one page that needs nothing else, whatever a VM is called") {
  const Dir dir;
  auto samples = random_samples(11, 100);
  for (auto& sample : samples) {
    for (auto& vm : sample.vms) {
      vm.name = "<script>alert('" + vm.name + "')</script>";
    }
  }
  record(dir.file(), samples, 0, 100);
  REQUIRE(top::run_report(dir.file(), dir.file("page.html")));
  const std::string page = content(dir.file("page.html"));
  CHECK(page.starts_with("<!doctype html>"));
  CHECK(page.find("<svg") != std::string::npos);
  CHECK(page.find("<script") == std::string::npos);
  for (const char* outside : {"http:", "https:", "src=", "@import", "url("}) {
    CHECK(page.find(outside) == std::string::npos);
  }
  CHECK(page.find("nan") == std::string::npos);
  const std::string before = content(dir.file());
  CHECK(error_of(top::run_report(dir.file(), dir.file())).find("is a recording") != std::string::npos);
  CHECK((content(dir.file()) == before));
  REQUIRE(top::run_report(dir.file(), dir.file("page.html")));
}
