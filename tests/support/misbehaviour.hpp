// The ways in which a callback can fail, also one from a language whose exceptions know nothing of C.
#pragma once

#include <stdexcept>

#include "rp_handoff.h"

namespace rp::test {

enum class Misbehaviour { none, answers_zero, answers_minus_one, answers_garbage, throws_exception, throws_number };

constexpr Misbehaviour all_misbehaviours[] = {Misbehaviour::answers_zero, Misbehaviour::answers_minus_one,
                                              Misbehaviour::answers_garbage, Misbehaviour::throws_exception,
                                              Misbehaviour::throws_number};

// The last thing that a callback does.
inline std::int32_t answer_of(Misbehaviour misbehaviour) {
    switch (misbehaviour) {
    case Misbehaviour::none:
        return RP_HANDOFF_CALLBACK_OK;
    case Misbehaviour::answers_zero:
        return 0;
    case Misbehaviour::answers_minus_one:
        return -1;
    case Misbehaviour::answers_garbage:
        return RP_HANDOFF_CALLBACK_OK + 1;
    case Misbehaviour::throws_exception:
        throw std::runtime_error("thrown through the C API");
    default:
        throw 42;
    }
}

} // namespace rp::test
