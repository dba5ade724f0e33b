// The state machine of one handoff. Pure: no I/O, no clock, no lock. A driver (the blocking execute, a session) feeds
// it events and carries out the action that it answers.
//
//   state         event                                             action    next
//   queued        sent_all                                          -         awaiting_ack
//   queued        sent_part                                         finish    sending
//   queued        send_failed, no byte moved; gave_up               abandon   fallback(send), BROKER
//   queued        send_failed, may have reached the backend         decide    by the verdict, stage send
//   sending       sent_all                                          -         awaiting_ack
//   sending       send_failed; gave_up                              decide    by the verdict, stage send
//   awaiting_ack  acked; refused; gave_up                           decide    by the verdict, stage await_ack,
//                                                                             or acknowledge where the registry said no
//   deciding      (settle)                                          -         completed or fallback
//   completed, fallback: terminal, every event answers none
//
// finish: send the rest of the message's bytes, without the descriptor, or the stream is lost. gave_up stands for the
// deadline, a cancel, a peer that went, a wait that failed: its cause says which. An event that does not belong to a
// state (an answer before the offer was sent) is taken as gave_up there: the driver is wrong, and the connection must
// not have two owners because of it.
//
// The value model, where a handle is duplicated into the backend's own table and then told to it in the offer, is the
// same machine: sent_part is the duplicate made, sent_all the offer delivered, and the stages of queued and sending are
// duplicate and deliver. A backend that was not told of a handle cannot use it: until sent_all, BROKER.
//
// decide: who owns the connection? Without a ledger nothing but the backend's own words can tell: an acknowledgement
// that the registry confirms is BACKEND, an explicit refusal is BROKER, everything else is AMBIGUOUS.
#pragma once

#include <cstdint>

#include "handoff/outcome.hpp"

namespace rp::handoff {

enum class Ownership : std::int32_t { broker = 1, backend = 2, ambiguous = 3 };
enum class Stage : std::int32_t {
    none = 0,
    send = 1,
    await_ack = 2,
    acknowledge = 3,
    policy = 4, // not attempted
    duplicate = 5,
    deliver = 6,
};

// How a handoff ended.
struct Outcome {
    bool completed = false;
    Ownership ownership = Ownership::broker;
    Stage stage = Stage::none;
    Reason reason = Reason::none;
    Cause cause = Cause::none;
    int os_error = 0;
    bool may_have_reached_backend = false;
};

class Handoff {
  public:
    enum class State { queued, sending, awaiting_ack, deciding, completed, fallback };
    enum class Action { none, finish, abandon, decide };

    struct Event {
        enum class Kind { sent_all, sent_part, send_failed, acked, refused, gave_up };
        Kind kind;
        TransportError error{}; // of send_failed; of gave_up its cause and os_error
    };

    // What the driver found out when it was told to decide. denied: why the registry did not confirm an
    // acknowledgement, none otherwise.
    struct Verdict {
        Ownership ownership;
        Cause denied = Cause::none;
    };

    enum class Model { descriptor, value };

    explicit Handoff(Model model = Model::descriptor) noexcept : model_(model) {}

    State state() const noexcept { return state_; }
    const Outcome &outcome() const noexcept { return outcome_; } // of a terminal state

    Action on(const Event &event) noexcept;
    void settle(const Verdict &verdict) noexcept; // the answer to decide; ignored in any other state

    // The verdict where there is no ledger. `confirmed`: what the registry made of the acknowledgement.
    static Verdict verdict_without_ledger(Event::Kind kind, Cause registry_denied) noexcept;

  private:
    Action on_queued(const Event &event) noexcept;
    Action on_sending(const Event &event) noexcept;
    Action give_up(Stage stage, Cause cause, int os_error) noexcept;

    Model model_;
    State state_ = State::queued;
    Outcome outcome_;
};

} // namespace rp::handoff
