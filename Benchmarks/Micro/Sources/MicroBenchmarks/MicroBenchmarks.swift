import AllocationCounter
import Glibc

/// Runs one case so many times after a warm-up and prints the allocations that it made.
///
///     MicroBenchmarks list                                    name<TAB>what one operation is
///     MicroBenchmarks NAME WARM-UP OPERATIONS DIR [--places]  allocations<TAB>operations
///
/// The warm-up gives buffers their size and makes lazy values. `--places` writes where the
/// allocations came from to standard error, as addresses.
@main
enum MicroBenchmarks {
    static let cases =
        checksumCases + frameCases + stagingCases + keyCases + jsonCases + requestCases
        + appendCases

    static func main() throws {
        let arguments = CommandLine.arguments
        if arguments == [arguments[0], "list"] {
            for micro in cases { print("\(micro.name)\t\(micro.operation)") }
            return
        }
        guard (5...6).contains(arguments.count),
            let micro = cases.first(where: { $0.name == arguments[1] }),
            let warmUpOperations = Int(arguments[2]), warmUpOperations > 0,
            let operations = Int(arguments[3]), operations > 0
        else {
            print("usage: MicroBenchmarks list | NAME WARM-UP OPERATIONS DIR [--places]")
            exit(64)
        }
        let keepsPlaces = arguments.last == "--places"
        let step = try micro.prepare(arguments[4])
        try step(warmUpOperations)
        allocation_counter_start(keepsPlaces ? 1 : 0)
        try step(operations)
        let allocations = allocation_counter_stop()
        print("\(allocations)\t\(operations)")
        if keepsPlaces { allocation_counter_print_places() }
        // Threads of a log may still run: what they allocate while they end is not of the step.
        fflush(nil)
        _exit(0)
    }
}
