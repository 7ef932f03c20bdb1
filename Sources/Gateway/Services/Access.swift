internal import Facts
internal import RPC

/// Who may do what: default deny, asked on every request. The configuration in force is the only source,
/// and the operator's word on a gate.
struct Access: Sendable {
    let live: LiveConfiguration
    let gates: PeerGates

    init(_ live: LiveConfiguration, gates: PeerGates) {
        self.live = live
        self.gates = gates
    }

    var configuration: NodeConfiguration { live.current }

    /// Procedures that a role opens; administrators of the machine may call everything.
    func admit(_ procedure: Procedure, _ caller: Caller) -> ServiceError? {
        switch caller.kind {
        case .administrator:
            return nil
        case .peer(let id):
            guard let peer = live.snapshot.configuration.peer(id: id), peer.authorized else {
                return refused(caller, "is not authorised in peers.yaml")
            }
            gates.called(by: id)
            guard Procedure.peers.contains(procedure) else {
                return refused(caller, "is a peer, and peers do not call \(procedure.method)")
            }
            return Procedure.gated.contains(procedure) ? gates.refusal(to: id) : nil
        case .client:
            guard let client = live.snapshot.configuration.client(identity: caller.identity) else {
                return refused(caller, "is not in clients")
            }
            if Procedure.producers.contains(procedure), client.roles.contains(.producer) {
                return nil
            }
            if Procedure.consumers.contains(procedure), client.roles.contains(.consumer) {
                return nil
            }
            return refused(caller, "has no role that may call \(procedure.method)")
        }
    }

    private func refused(_ caller: Caller, _ why: String) -> ServiceError {
        ServiceError(
            .identityNotAuthorised,
            "\(caller.identity) \(why); ask the operator of \(configuration.zone) for it")
    }

    /// A name that a caller sent, in a sentence: no longer than a name may be.
    private static func shown(_ name: String) -> String { ShownText.line(name, bytes: 64) }

    /// Whether the caller may append to a stream of `held`'s. The role is asked again: the call was let in
    /// before its body came.
    func checkAppend(
        _ caller: Caller, stream: String, _ held: LiveConfiguration.Snapshot
    ) throws(ServiceError) -> StreamConfiguration {
        guard let found = held.configuration.stream(stream) else {
            throw ServiceError(
                .unknownStream,
                "there is no stream \(Access.shown(stream)) here; the streams are "
                    + held.configuration.streams.map(\.name).joined(separator: ", "),
                field: "stream")
        }
        switch caller.kind {
        case .administrator: break
        case .peer: throw refused(caller, "is a peer, and peers append nothing here")
        case .client:
            let client = held.configuration.client(identity: caller.identity)
            guard let client, client.roles.contains(.producer) else {
                throw refused(caller, "has not the role producer")
            }
            guard client.streams.contains(where: { $0.utf8.elementsEqual(stream.utf8) }) else {
                throw ServiceError(
                    .streamNotGranted,
                    "\(caller.identity) may not append to \(Access.shown(stream)); add it to this client's "
                        + "streams in bsfg.yaml of \(held.configuration.zone)",
                    field: "stream")
            }
        }
        return found
    }

    /// Whether the caller may read a stream of an origin, its role included.
    func checkRead(_ caller: Caller, stream: String, origin: String) throws(ServiceError) {
        let streams: [String]
        let origins: [String]
        switch caller.kind {
        case .administrator: return
        case .peer(let id):
            guard let peer = configuration.peer(id: id), peer.authorized else {
                throw refused(caller, "is not authorised in peers.yaml")
            }
            (streams, origins) = (peer.streams, peer.origins)
        case .client:
            let client = configuration.client(identity: caller.identity)
            guard let client, client.roles.contains(.consumer) else {
                throw refused(caller, "has not the role consumer")
            }
            (streams, origins) = (client.streams, client.origins)
        }
        guard streams.contains(where: { $0.utf8.elementsEqual(stream.utf8) }) else {
            throw ServiceError(
                .streamNotGranted,
                "\(Access.shown(stream)) is not granted to \(caller.identity); add it to its entry's streams in the "
                    + "configuration of \(configuration.zone)",
                field: "stream")
        }
        guard origins.contains(where: { $0.utf8.elementsEqual(origin.utf8) }) else {
            throw ServiceError(
                .originNotGranted,
                "facts of \(Access.shown(origin)) are not granted to \(caller.identity); add it to its entry's origins "
                    + "in the configuration of \(configuration.zone)",
                field: "origin_zone")
        }
    }
}

/// What a node serves on its boundary and on its administration socket.
enum Procedure: String, CaseIterable {
    case appendFact = "/bsfg.v1.BoundaryService/AppendFact"
    case fetchFacts = "/bsfg.v1.BoundaryService/FetchFacts"
    case confirmReceipt = "/bsfg.v1.BoundaryService/ConfirmReceipt"
    case putObject = "/bsfg.v1.BoundaryService/PutObject"
    case getObject = "/bsfg.v1.ArtifactService/GetObject"
    case appendFacts = "/bsfg.v1.IngestService/AppendFacts"
    case hello = "/bsfg.v1.FederationService/Hello"
    case listStreams = "/bsfg.v1.FederationService/ListStreams"
    case openCursor = "/bsfg.v1.FederationService/OpenCursor"
    case notifyAvailable = "/bsfg.v1.FederationService/NotifyAvailable"
    case status = "/bsfg.admin.v1.AdminService/Status"
    case createConsumer = "/bsfg.admin.v1.AdminService/CreateConsumer"
    case listConsumers = "/bsfg.admin.v1.AdminService/ListConsumers"
    case peek = "/bsfg.admin.v1.AdminService/Peek"
    case redeliver = "/bsfg.admin.v1.AdminService/Redeliver"
    case detachConsumer = "/bsfg.admin.v1.AdminService/DetachConsumer"
    case attachConsumer = "/bsfg.admin.v1.AdminService/AttachConsumer"
    case listArtifacts = "/bsfg.admin.v1.AdminService/ListArtifacts"
    case showArtifact = "/bsfg.admin.v1.AdminService/ShowArtifact"
    case acknowledgeAlarm = "/bsfg.admin.v1.AdminService/AcknowledgeAlarm"
    case listQuarantine = "/bsfg.admin.v1.QuarantineService/ListQuarantine"
    case showQuarantine = "/bsfg.admin.v1.QuarantineService/ShowQuarantine"
    case retryQuarantine = "/bsfg.admin.v1.QuarantineService/RetryQuarantine"
    case discardQuarantine = "/bsfg.admin.v1.QuarantineService/DiscardQuarantine"
    case resolveQuarantine = "/bsfg.admin.v1.QuarantineService/ResolveQuarantine"
    case acceptHistory = "/bsfg.admin.v1.HistoryService/AcceptHistory"
    case getFact = "/bsfg.admin.v1.ReadingService/GetFact"
    case queryFacts = "/bsfg.admin.v1.ReadingService/QueryFacts"
    case deleteConsumer = "/bsfg.admin.v1.ReadingService/DeleteConsumer"
    /// The bring-up runbook's spelling of a first look.
    case previewFetch = "/v1/fetch"
    case listGates = "/bsfg.admin.v1.FederationAdministration/ListGates"
    case partition = "/bsfg.admin.v1.FederationAdministration/Partition"
    case reconcile = "/bsfg.admin.v1.FederationAdministration/Reconcile"
    case startPeer = "/bsfg.admin.v1.FederationAdministration/StartPeer"
    case reload = "/bsfg.admin.v1.FederationAdministration/Reload"
    case showConfiguration = "/bsfg.admin.v1.FederationAdministration/ShowConfiguration"
    case listRefusals = "/bsfg.admin.v1.FederationAdministration/ListRefusals"

    static let peers: Set<Procedure> = [
        .fetchFacts, .confirmReceipt, .hello, .listStreams, .openCursor, .notifyAvailable,
        .previewFetch, .getObject,
    ]
    /// What a gate that the operator closed does not let through.
    static let gated: Set<Procedure> = [.fetchFacts, .confirmReceipt, .previewFetch, .getObject]
    static let producers: Set<Procedure> = [.appendFact, .appendFacts, .putObject]
    static let consumers: Set<Procedure> = [
        .fetchFacts, .confirmReceipt, .previewFetch, .getObject,
    ]

    var method: String { String(rawValue[rawValue.index(after: rawValue.lastIndex(of: "/")!)...]) }
}
