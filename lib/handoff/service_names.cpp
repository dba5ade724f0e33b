#include "handoff/service_names.hpp"

#include <utility>

namespace rp::handoff {

ServiceNames::Name *ServiceNames::use(std::string_view name) {
    if (last_ == nullptr || last_->first != name) {
        const auto found = names_.find(name);
        last_ = &*(found != names_.end() ? found : names_.emplace(name, Use{}).first);
    }
    ++last_->second.count;
    return last_;
}

void ServiceNames::release(Name *name) noexcept {
    if (--name->second.count > 0 || name->second.recent) {
        return;
    }
    name->second.recent = true;
    Name *const displaced = std::exchange(recent_[oldest_], name);
    oldest_ = (oldest_ + 1) % spare;
    if (displaced == nullptr) {
        return;
    }
    displaced->second.recent = false;
    if (displaced->second.count == 0) {
        last_ = last_ == displaced ? nullptr : last_;
        names_.erase(names_.find(displaced->first));
    }
}

} // namespace rp::handoff
