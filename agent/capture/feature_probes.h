// The programs that are loaded only when asked for: their capability rows, their maps, how they are
// attached. One that this kernel cannot run is left out with a remark; the rest goes on.
#pragma once

#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/capture/bpf_capture.h"
#include "agent/capture/probe_loader.h"
#include "agent/capture/tracefs.h"

struct btf;

namespace zerotap {

// By what this kernel has.
FeaturePlan PlanFeatures(const CaptureOptions& options, const btf* kernel,
                         const Result<Tracefs>& tracefs);
// The programs that read and change the maps of the plan for user space.
std::vector<std::string> MapAccessPrograms(const FeaturePlan& plan);
// When the kernel refuses the whole: one feature less; false when there is none left.
bool DropFeature(CaptureOptions& options);
// For a remark: what is in the first and not in the second.
std::string WithoutFeatures(const CaptureOptions& wanted, const CaptureOptions& left);
// Before load: settings and map sizes; maps of features that are off are not made.
void PrepareFeatures(const CaptureOptions& options, const FeaturePlan& plan, zerotap_bpf& skeleton);

}  // namespace zerotap
