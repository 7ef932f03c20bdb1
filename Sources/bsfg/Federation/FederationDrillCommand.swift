internal import ArgumentParser
internal import Gateway
internal import RPC

struct FederationDrillCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drill",
        abstract: "Runs the controlled partition and the duplicate replay against the live peer.",
        discussion: """
            Closes our gate to the peer, appends three facts of the subject federation:ZONE on each \
            side that is given, opens the gate, and waits until both agree; then fetches facts below \
            the position once more. Facts of others go on, and wait while the gate is closed: for \
            maintenance windows. The gate is opened again however it ends, at the latest after 10 \
            minutes by itself.
            """)

    @OptionGroup var sides: FederationOptions

    @Option(help: "How long to wait for each state.")
    var patienceSeconds = 60

    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...600).contains(patienceSeconds) else {
            throw ValidationError("--patience-seconds is between 1 and 600.")
        }
    }

    func run() async throws {
        let configuration = try sides.load()
        let theirs = try await sides.theirs()
        let gathering = AcceptanceGathering(
            configuration: configuration, peer: sides.peer, theirs: theirs, theirSide: sides.theirSide,
            patienceSeconds: patienceSeconds, closure: DrillInterruption.handled(peer: sides.peer))
        let evidence = try await CommandFailure.wrapping { try await gathering.run() }
        let names: Set<String> = [
            "authentication", "peer_health", "authorization", "replay", "cursor", "duplicate_replay",
            "partition_recovery", "replay_drill",
        ]
        let criteria = HandoffCriteria.judge(evidence).filter { names.contains($0.name) }
        CriterionOutput.show(criteria, output.format)
        if criteria.contains(where: \.isBlocking) { throw CommandFailure(.failure, "") }
    }
}

extension CommandFailure {
    /// As `wrap` and `calling`, for work that does both.
    static func wrapping<Value>(_ body: () async throws -> Value) async throws -> Value {
        do {
            return try await body()
        } catch let error as RPCClientError {
            throw CommandFailure(error)
        } catch let error as CertificateError {
            throw CommandFailure(.failure, error.sentence)
        } catch let error as ConfigurationError {
            throw CommandFailure(.usage, error.description)
        }
    }
}
