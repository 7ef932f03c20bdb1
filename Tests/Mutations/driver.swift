// Runs seeds of the simulation one after the other until one fails: what the mutation suite builds
// against the engine into which bugs were put, of which BSFG_MUTATION names the one that is active.
//
// usage: driver FIRST-SEED SECONDS
//
// Prints each seed before it runs, so that one that ends the process is known too; exits with 0 when
// nothing was found and with 1 when something was.

import Glibc
import LogSimulation
import WriteAheadLog

let arguments = CommandLine.arguments
guard arguments.count == 3, let first = UInt64(arguments[1]), let seconds = Int64(arguments[2]) else {
    print("usage: driver FIRST-SEED SECONDS")
    exit(2)
}
let clock = LogEnvironment.linux.monotonicNanoseconds
let end = clock() + seconds * 1_000_000_000
var seed = first
var crashes = 0
while clock() < end {
    print("seed \(seed)")
    fflush(nil)
    let (tally, failure) = SimulationRun.run(seed: seed)
    crashes += tally.crashes
    if let failure {
        print("FOUND \(failure.sentence)")
        exit(1)
    }
    seed += 1
}
print("NOTHING \(seed - first) seeds, \(crashes) crashes")
