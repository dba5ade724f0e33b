// What kinds of backends there are.
#include "backend.hpp"

namespace rp::chaos {

Character Character::draw(Random &random) {
    const auto sometimes = [&random](std::uint32_t percent, std::uint32_t one_in) {
        return random.percent(percent) ? one_in : 0;
    };
    Character character;
    character.refuses = sometimes(50, 20);
    character.is_late = sometimes(50, 40);
    character.withholds = sometimes(40, 300);
    character.dies_before = sometimes(25, 600);
    character.dies_within = sometimes(25, 300);
    character.dies_after = sometimes(25, 600);
    character.stops_before = sometimes(25, 800);
    character.stops_after = sometimes(25, 800);
    character.drops = sometimes(25, 800);
    character.closes = sometimes(25, 800);
    character.is_short = random.percent(25);
    character.has_small_buffers = random.percent(25);
    return character;
}

} // namespace rp::chaos
