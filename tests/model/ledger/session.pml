/* The session protocol with the adoption ledger: what spin is given. README.md says what it stands for. */
#include "protocol.pml"
#include "broker.pml"
#include "backend.pml"
#include "world.pml"
