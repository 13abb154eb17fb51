#include "agent/metrics/red_aggregator.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "agent/base/hash.h"
#include "agent/metrics/exponential_histogram.h"
#include "agent/metrics/gathered_resources.h"
#include "agent/telemetry/semconv.h"

namespace zerotap {
namespace {

// What tells series apart, in the order given. Compared in full: equal hashes never merge two
// series.
struct StoredAttribute {
  std::string_view key;
  uint8_t type;  // index in MetricAttribute::value
  uint32_t text_offset;
  uint32_t text_size;
  int64_t number;
};

constexpr uint8_t kTextType = 0;

int64_t NumberOf(const MetricAttribute& attribute) {
  const int64_t* number = std::get_if<int64_t>(&attribute.value);
  return number == nullptr ? 0 : *number;
}

struct Series {
  uint64_t hash = 0;
  ResourcePtr resource;
  const MetricDescriptor* descriptor = nullptr;
  bool overflow = false;
  bool gathered = false;  // overflow of several processes
  std::vector<StoredAttribute> identity;
  std::string texts;
  AttributeSet attributes;

  uint64_t start_unix_ns = 0;
  uint64_t count = 0;
  double sum = 0;
  double min = std::numeric_limits<double>::infinity();
  double max = 0;
  std::vector<uint64_t> buckets;                      // explicit
  std::unique_ptr<ExponentialHistogram> exponential;  // or this
  std::vector<Exemplar> exemplars;                    // a ring once it is full
  size_t next_exemplar = 0;
  uint32_t idle = 0;
  bool touched = false;

  bool Matches(uint64_t other_hash, const Resource* other_resource,
               const MetricDescriptor& other_descriptor, std::span<const MetricAttribute> others,
               bool other_overflow) const {
    if (hash != other_hash || resource.get() != other_resource ||
        descriptor != &other_descriptor || overflow != other_overflow ||
        identity.size() != others.size()) {
      return false;
    }
    for (size_t i = 0; i < others.size(); ++i) {
      const StoredAttribute& mine = identity[i];
      const MetricAttribute& other = others[i];
      if (mine.type != other.value.index()) return false;
      if (mine.key.data() != other.key.data() || mine.key.size() != other.key.size()) {
        if (mine.key != other.key) return false;
      }
      if (mine.type == kTextType) {
        std::string_view text = *std::get_if<std::string_view>(&other.value);
        if (text != std::string_view(texts).substr(mine.text_offset, mine.text_size)) return false;
      } else if (mine.number != NumberOf(other)) {
        return false;
      }
    }
    return true;
  }

  void Restart(uint64_t start) {
    start_unix_ns = start;
    count = 0;
    sum = 0;
    min = std::numeric_limits<double>::infinity();
    max = 0;
    std::fill(buckets.begin(), buckets.end(), 0);
    if (exponential) exponential->Reset();
  }
};

// One multiplication a word and a good mix at the end: it is taken for each request.
uint64_t HashOf(const Resource* resource, const MetricDescriptor& descriptor,
                std::span<const MetricAttribute> attributes, bool overflow) {
  uint64_t hash = reinterpret_cast<uintptr_t>(resource);
  const auto add = [&hash](uint64_t word) {
    hash = (hash ^ word) * 0x9E3779B97F4A7C15ull;
    hash ^= hash >> 32;
  };
  add(reinterpret_cast<uintptr_t>(&descriptor) + (overflow ? 1 : 0));
  for (const MetricAttribute& attribute : attributes) {
    if (const auto* text = std::get_if<std::string_view>(&attribute.value)) {
      add(attribute.key.size() << 32 | text->size());
      ForEachWord(*text, add);
    } else {
      add(attribute.key.size());
      add(static_cast<uint64_t>(NumberOf(attribute)));
    }
  }
  return MixHash(hash);
}

// Durations can't be anything else; what is must not poison the sum, and must be counted.
double Clamp(double value) {
  if (!(value >= 0)) return 0;
  return std::min(value, std::numeric_limits<double>::max());
}

}  // namespace

struct RedAggregator::State {
  struct MetricCount {
    const MetricDescriptor* descriptor;
    size_t series = 0;
    size_t overflow = 0;  // of resources of their own
  };

  RedOptions options;
  std::vector<std::unique_ptr<Series>> series;  // in order of creation
  std::vector<uint32_t> table;                  // open addressing, index + 1, 0 = free
  std::vector<MetricCount> counts;
  GatheredResources gathered;
  uint64_t overflowed = 0;
  uint64_t last_collection = 0;  // 0: none yet; then where the first interval began

  Series* Find(uint64_t hash, const Resource* resource, const MetricDescriptor& descriptor,
               std::span<const MetricAttribute> attributes, bool overflow) {
    size_t mask = table.size() - 1;
    for (size_t slot = hash & mask; table[slot] != 0; slot = (slot + 1) & mask) {
      Series& candidate = *series[table[slot] - 1];
      if (candidate.Matches(hash, resource, descriptor, attributes, overflow)) return &candidate;
    }
    return nullptr;
  }

  void Insert(uint64_t hash, uint32_t index) {
    size_t mask = table.size() - 1;
    size_t slot = hash & mask;
    while (table[slot] != 0) slot = (slot + 1) & mask;
    table[slot] = index + 1;
  }

  void Rebuild(size_t size) {
    table.assign(size, 0);
    for (size_t i = 0; i < series.size(); ++i) Insert(series[i]->hash, static_cast<uint32_t>(i));
  }

  explicit State(const RedOptions& wanted) : options(wanted), table(256, 0), gathered(MaxOverflow()) {}

  size_t MaxOverflow() const { return std::max<size_t>(1, options.max_series_per_metric / 4); }

  MetricCount& CountOf(const MetricDescriptor* descriptor) {
    for (MetricCount& entry : counts) {
      if (entry.descriptor == descriptor) return entry;
    }
    return counts.emplace_back(MetricCount{descriptor});
  }
  size_t* CounterOf(const Series& entry) {
    if (entry.gathered) return nullptr;
    MetricCount& count = CountOf(entry.descriptor);
    return entry.overflow ? &count.overflow : &count.series;
  }

  Series& Create(uint64_t hash, const ResourcePtr& resource, const MetricDescriptor& descriptor,
                 std::span<const MetricAttribute> attributes, bool overflow) {
    auto created = std::make_unique<Series>();
    created->hash = hash;
    created->resource = resource;
    created->descriptor = &descriptor;
    created->overflow = overflow;
    created->start_unix_ns = last_collection;
    created->identity.reserve(attributes.size());
    for (const MetricAttribute& attribute : attributes) {
      StoredAttribute stored{attribute.key, static_cast<uint8_t>(attribute.value.index()), 0, 0,
                             NumberOf(attribute)};
      if (const auto* text = std::get_if<std::string_view>(&attribute.value)) {
        stored.text_offset = static_cast<uint32_t>(created->texts.size());
        stored.text_size = static_cast<uint32_t>(text->size());
        created->texts.append(*text);
        created->attributes.Add(attribute.key, *text);
      } else {
        created->attributes.Add(attribute.key, stored.number);
      }
      created->identity.push_back(stored);
    }
    if (overflow) created->attributes.Add(semconv::kOverflow, true);
    if (options.exponential && !descriptor.counted_elsewhere) {
      created->exponential = std::make_unique<ExponentialHistogram>();
    } else {
      created->buckets.assign(descriptor.bounds.size() + 1, 0);
    }
    created->exemplars.reserve(options.exemplars_per_series);
    if ((series.size() + 1) * 2 > table.size()) Rebuild(table.size() * 2);
    series.push_back(std::move(created));
    Insert(hash, static_cast<uint32_t>(series.size() - 1));
    return *series.back();
  }

  Series& SeriesFor(const ResourcePtr& resource, const MetricDescriptor& descriptor,
                    std::span<const MetricAttribute> attributes) {
    uint64_t hash = HashOf(resource.get(), descriptor, attributes, false);
    if (Series* found = Find(hash, resource.get(), descriptor, attributes, false)) return *found;
    if (CountOf(&descriptor).series < options.max_series_per_metric) {
      ++CountOf(&descriptor).series;
      return Create(hash, resource, descriptor, attributes, false);
    }
    ++overflowed;
    hash = HashOf(resource.get(), descriptor, {}, true);
    if (Series* found = Find(hash, resource.get(), descriptor, {}, true)) return *found;
    if (CountOf(&descriptor).overflow < MaxOverflow()) {
      ++CountOf(&descriptor).overflow;
      return Create(hash, resource, descriptor, {}, true);
    }
    const ResourcePtr& shared = gathered.Of(*resource);
    hash = HashOf(shared.get(), descriptor, {}, true);
    if (Series* found = Find(hash, shared.get(), descriptor, {}, true)) return *found;
    Series& created = Create(hash, shared, descriptor, {}, true);
    created.gathered = true;
    return created;
  }

  // Forgets what was idle for too long.
  void Expire() {
    size_t before = series.size();
    std::erase_if(series, [this](const std::unique_ptr<Series>& entry) {
      entry->idle = entry->touched ? 0 : entry->idle + 1;
      if (entry->idle < std::max<uint32_t>(options.idle_collections, 1)) return false;
      if (size_t* counter = CounterOf(*entry)) --*counter;
      return true;
    });
    if (series.size() != before) Rebuild(table.size());
  }
};

RedAggregator::RedAggregator(RedOptions options) : state_(std::make_unique<State>(options)) {}
RedAggregator::~RedAggregator() = default;

void RedAggregator::Record(const ResourcePtr& resource, const MetricDescriptor& descriptor,
                           std::span<const MetricAttribute> attributes, double value,
                           uint64_t now_unix_ns, const Exemplar* exemplar) {
  if (state_->last_collection == 0) state_->last_collection = now_unix_ns;
  Series& series = state_->SeriesFor(resource, descriptor, attributes);
  value = Clamp(value);
  series.touched = true;
  ++series.count;
  series.sum += value;
  series.min = std::min(series.min, value);
  series.max = std::max(series.max, value);
  if (series.exponential) {
    series.exponential->Record(value);
  } else {
    // Upper bounds are inclusive.
    std::span<const double> bounds = descriptor.bounds;
    size_t bucket = 0;
    while (bucket < bounds.size() && value > bounds[bucket]) ++bucket;
    ++series.buckets[bucket];
  }
  if (exemplar != nullptr && state_->options.exemplars_per_series > 0) {
    if (series.exemplars.size() < state_->options.exemplars_per_series) {
      series.exemplars.push_back(*exemplar);
    } else {
      series.exemplars[series.next_exemplar] = *exemplar;
      series.next_exemplar = (series.next_exemplar + 1) % series.exemplars.size();
    }
  }
}

void RedAggregator::RecordBuckets(const ResourcePtr& resource, const MetricDescriptor& descriptor,
                                  std::span<const MetricAttribute> attributes,
                                  std::span<const uint64_t> counts, double sum,
                                  uint64_t now_unix_ns) {
  if (state_->last_collection == 0) state_->last_collection = now_unix_ns;
  Series& series = state_->SeriesFor(resource, descriptor, attributes);
  series.touched = true;
  series.sum += Clamp(sum);
  const size_t last = series.buckets.size() - 1;
  for (size_t i = 0; i < counts.size(); ++i) {
    series.buckets[std::min(i, last)] += counts[i];
    series.count += counts[i];
  }
}

void RedAggregator::Collect(uint64_t now_unix_ns, std::vector<Metric>& out) {
  State& state = *state_;
  bool delta = state.options.temporality == Temporality::kDelta;
  state.Expire();
  std::map<std::pair<const Resource*, const MetricDescriptor*>, size_t> groups;
  for (const std::unique_ptr<Series>& entry : state.series) {
    Series& series = *entry;
    bool report = !delta || series.touched;
    series.touched = false;
    if (!report) {
      series.start_unix_ns = now_unix_ns;
      continue;
    }
    auto [group, added] =
        groups.try_emplace(std::pair(series.resource.get(), series.descriptor), out.size());
    if (added) {
      Metric& metric = out.emplace_back();
      metric.descriptor = series.descriptor;
      metric.resource = series.resource;
      metric.temporality = state.options.temporality;
    }
    Metric& metric = out[group->second];
    auto fill = [&](auto& point) {
      point.attributes = series.attributes;
      point.start_unix_ns = series.start_unix_ns;
      point.time_unix_ns = std::max(now_unix_ns, series.start_unix_ns);
      point.count = series.count;
      point.sum = series.sum;
      point.min = series.count > 0 ? series.min : 0;
      point.max = series.max;
      point.exemplars = series.exemplars;
    };
    if (series.exponential) {
      ExponentialHistogramPoint& point = metric.exponential_histograms.emplace_back();
      fill(point);
      point.scale = series.exponential->scale();
      point.zero_count = series.exponential->zero_count();
      point.positive_offset = series.exponential->offset();
      point.positive_counts = series.exponential->Counts();
    } else {
      HistogramPoint& point = metric.histograms.emplace_back();
      fill(point);
      point.has_extremes = !series.descriptor->counted_elsewhere;
      if (!point.has_extremes) point.min = 0;
      point.bucket_counts = series.buckets;
    }
    series.exemplars.clear();
    series.next_exemplar = 0;
    if (delta) series.Restart(now_unix_ns);
  }
  state.last_collection = std::max(now_unix_ns, state.last_collection);
}

uint64_t RedAggregator::overflowed() const { return state_->overflowed; }
size_t RedAggregator::series() const { return state_->series.size(); }

}  // namespace zerotap
