internal import Buffers
internal import Facts
internal import Logging
internal import RPC
internal import WriteAheadLog

/// A peer's `/v1/artifacts`.
protocol ArtifactSource: Sendable {
    /// GET; the bytes of a successful answer go to `download`.
    func read(
        _ path: String, _ headers: [(name: String, value: String)], _ download: @escaping RPCDownload
    ) async throws(RPCClientError) -> RPCResponse
}

/// Fetches what received facts refer to from the peer that delivered them, over a connection of its own,
/// so that no artifact stands in a fact's way. What is to be fetched is in the store's index; this only
/// remembers when to try again.
actor ArtifactPrefetch {
    private static let lookEveryMilliseconds = 250
    private static let lookNames = 1_024
    /// Fetches that come to nothing, of those that one look begins and its fetches' ends go on to: names that nobody
    /// gives us are as many as a producer makes them.
    private static let vainFetches = 16
    /// Broken fetches whose bytes are kept to be gone on with; each is an open file.
    private static let partsMaximum = 32

    private let store: any ArtifactStore
    private let pool: BlockingPool
    private let logger: Logger
    /// Which peer delivers the facts of a log.
    private var peers: [[UInt8]: String]
    private var sources: [String: any ArtifactSource]
    /// Whether a peer may be asked now.
    private let mayAsk: @Sendable (String) -> Bool
    private let now: @Sendable () -> Int64
    private var plan = PrefetchPlan()
    /// What came before a connection was lost: the next attempt goes on from there.
    private var parts: [ArtifactName: PartialArtifact] = [:]
    /// Pending names that are still to be looked at before all are looked at again.
    private var pass: ArraySlice<ArtifactName> = []
    private var vainFetchesLeft = 0
    private var isStopped = false
    private var loop: Task<Void, Never>?
    private var fetches: [ArtifactName: (peer: String, task: Task<Void, Never>)] = [:]

    init(
        _ store: any ArtifactStore, _ pool: BlockingPool, peers: [[UInt8]: String],
        sources: [String: any ArtifactSource],
        mayAsk: @escaping @Sendable (String) -> Bool = { _ in true },
        now: @escaping @Sendable () -> Int64, _ logger: Logger
    ) {
        self.store = store
        self.pool = pool
        self.peers = peers
        self.sources = sources
        self.mayAsk = mayAsk
        self.now = now
        self.logger = logger
    }

    func start() {
        loop = Task { [weak self] in
            while !Task.isCancelled {
                await self?.lookAgain()
                try? await Task.sleep(for: .milliseconds(ArtifactPrefetch.lookEveryMilliseconds))
            }
        }
    }

    func stop() async {
        isStopped = true
        loop?.cancel()
        let all = fetches.values.map(\.task)
        for fetch in all { fetch.cancel() }
        for fetch in all { await fetch.value }
        parts = [:]
    }

    /// The configuration changed: other peers deliver, or over other connections.
    func apply(peers: [[UInt8]: String], sources: [String: any ArtifactSource]) {
        self.peers = peers
        self.sources = sources
    }

    /// Gives up what is fetched from a peer; it goes on from there when the peer may be asked again.
    func interrupt(peer: String) async {
        let tasks = fetches.values.filter { $0.peer.utf8.elementsEqual(peer.utf8) }.map(\.task)
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
    }

    /// What facts of a log refer to, is not here, and is given to us.
    func awaited(log: [UInt8]) -> Set<ArtifactName> {
        Set(
            store.pendingNames().filter { name in
                guard let entry = store.entry(name), entry.isPending, !plan.isRefused(name) else {
                    return false
                }
                return entry.uses.contains { $0.log == log }
            })
    }

    /// Which of these names are not here yet, and not refused either.
    func stillAwaited(_ names: Set<ArtifactName>) -> Set<ArtifactName> {
        names.filter { store.entry($0)?.isPending == true && !plan.isRefused($0) }
    }

    /// - Returns: why a pending artifact is not here yet, in a word.
    func state(_ name: ArtifactName) -> (word: String, failures: Int) {
        if fetches[name] != nil { return ("fetching", plan.failures(name)) }
        if plan.isRefused(name) { return ("not_granted", 0) }
        return (plan.failures(name) > 0 ? "missing" : "waiting", plan.failures(name))
    }

    // MARK: - Fetching

    private func lookAgain() {
        vainFetchesLeft = ArtifactPrefetch.vainFetches
        look()
    }

    private func look() {
        guard !isStopped else { return }
        if pass.isEmpty {
            guard store.usage.pending > 0 || !parts.isEmpty else { return }
            pass = store.pendingNames()[...]
            let store = store
            plan.keep { store.entry($0)?.isPending == true }
            parts = parts.filter { store.entry($0.key)?.isPending == true }
        }
        var left = ArtifactPrefetch.lookNames
        while left > 0, sources.keys.contains(where: plan.hasPlace), let name = pass.popFirst() {
            left -= 1
            guard let entry = store.entry(name), entry.isPending, let expected = entry.expected,
                let peer = peer(of: entry), let source = sources[peer], mayAsk(peer),
                fetches[name] == nil, plan.begin(name, peer: peer, now: now())
            else { continue }
            let task = Task { [self] in
                let outcome = await fetch(name, expected, source)
                ended(name, peer, outcome)
            }
            fetches[name] = (peer, task)
        }
        if pass.isEmpty { pass = [] }
    }

    /// The place that a fetch leaves is taken at once while fetches come to something.
    private func goOn(after outcome: PrefetchPlan.Outcome) {
        switch outcome {
        case .stored: look()
        case .missing, .notGranted:
            guard vainFetchesLeft > 0 else { return }
            vainFetchesLeft -= 1
            look()
        case .unavailable: break
        }
    }

    private func peer(of entry: ArtifactEntry) -> String? {
        for use in entry.uses { if let peer = peers[use.log] { return peer } }
        return nil
    }

    private func ended(
        _ name: ArtifactName, _ peer: String, _ result: (outcome: PrefetchPlan.Outcome, why: String)
    ) {
        fetches[name] = nil
        let failures = plan.end(name, peer: peer, result.outcome, now: now())
        let metadata: Logger.Metadata = ["artifact": "\(name)", "peer": "\(peer)"]
        switch result.outcome {
        case .stored: logger.info("artifact fetched", metadata: metadata)
        case .missing:
            logger.error(
                "artifact missing: \(result.why)",
                metadata: metadata.merging([
                    "event": "artifact_missing", "alert": "ArtifactMissing",
                    "attempts": "\(failures)",
                ]) { $1 })
        case .notGranted:
            logger.notice("artifact not granted: \(result.why)", metadata: metadata)
        case .unavailable:
            logger.debug("artifact not fetched yet: \(result.why)", metadata: metadata)
        }
        goOn(after: result.outcome)
    }

    private func fetch(
        _ name: ArtifactName, _ expected: ArtifactContent, _ source: any ArtifactSource
    ) async -> (PrefetchPlan.Outcome, String) {
        let part: PartialArtifact
        if let known = parts[name], known.expected == expected {
            part = known
        } else {
            part = PartialArtifact(name, expected, store, pool)
            parts[name] = part
        }
        do throws(RPCClientError) {
            let response = try await source.read(
                ArtifactPath.path(name), part.begin()
            ) { (head: RPCResponse, bytes: [UInt8]) async throws(RPCClientError) in
                try await part.take(head, bytes)
            }
            guard (200..<300).contains(response.status) else {
                throw .status(RPCClient.failure(of: response))
            }
        } catch {
            if part.mustStartOver || parts.count > ArtifactPrefetch.partsMaximum {
                parts[name] = nil
            }
            return ArtifactPrefetch.outcome(of: error)
        }
        let result = await part.finish()
        parts[name] = nil
        return result
    }

    private static func outcome(of error: RPCClientError) -> (PrefetchPlan.Outcome, String) {
        let sentence = error.description
        guard let failure = error.failure else {
            return (.unavailable(retryAfterMilliseconds: 1_000), sentence)
        }
        switch failure.serviceError?.reason {
        case .bucketNotGranted, .originNotGranted, .identityNotAuthorised:
            return (.notGranted, sentence)
        case .artifactNotFound, .digestMismatch: return (.missing, sentence)
        default:
            return (
                .unavailable(retryAfterMilliseconds: failure.retryAfterMilliseconds ?? 1_000), sentence
            )
        }
    }
}
