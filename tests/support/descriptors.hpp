// Which descriptors this process has open, and what they are.
#pragma once

#include <cstdlib>
#include <dirent.h>
#include <map>
#include <string>
#include <unistd.h>

namespace rp::test {

using Descriptors = std::map<int, std::string>;

inline Descriptors open_descriptors() {
    Descriptors found;
    DIR *directory = opendir("/proc/self/fd");
    if (directory == nullptr) {
        return found;
    }
    while (const dirent *entry = readdir(directory)) {
        const int fd = std::atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd == dirfd(directory)) {
            continue;
        }
        char target[256] = {};
        const std::string link = std::string("/proc/self/fd/") + entry->d_name;
        const ssize_t n = readlink(link.c_str(), target, sizeof target - 1);
        found[fd] = n > 0 ? target : "?";
    }
    closedir(directory);
    return found;
}

inline std::string describe(const Descriptors &descriptors) {
    std::string text;
    for (const auto &[fd, target] : descriptors) {
        text += std::to_string(fd) + "=" + target + " ";
    }
    return text;
}

} // namespace rp::test
