internal import Buffers
internal import Facts
internal import RPC

/// Who may put and read which artifacts: default deny, by bucket and by the zone that they began in.
extension Access {
    /// Whether the caller may give a name to bytes.
    func checkPut(_ caller: Caller, _ name: ArtifactName) throws(ServiceError) {
        guard configuration.artifacts != nil else { throw noArtifacts }
        guard name.zone.utf8.elementsEqual(configuration.zone.utf8) else {
            throw ServiceError(
                .fromZoneNotAllowed,
                "artifacts of \(name.zone) are put there; here is \(configuration.zone), and a name begins with "
                    + "the zone: \(configuration.zone)/BUCKET/KEY",
                field: "zone")
        }
        switch caller.kind {
        case .administrator: return
        case .peer:
            throw ServiceError(
                .identityNotAuthorised,
                "\(caller.identity) is a peer, and peers put nothing here: they let us fetch")
        case .client:
            guard let client = configuration.client(identity: caller.identity),
                client.roles.contains(.producer)
            else {
                throw ServiceError(
                    .identityNotAuthorised,
                    "\(caller.identity) has not the role producer; ask the operator of "
                        + "\(configuration.zone) for it")
            }
            guard Access.names(client.artifacts, name.bucket) else { throw notGranted(caller, name) }
        }
    }

    /// Whether the caller may read an artifact, and learn that there is one.
    func checkGet(_ caller: Caller, _ name: ArtifactName) throws(ServiceError) {
        guard configuration.artifacts != nil else { throw noArtifacts }
        let buckets: [String]
        let origins: [String]
        switch caller.kind {
        case .administrator: return
        case .peer(let id):
            guard let peer = configuration.peer(id: id), peer.authorized else {
                throw ServiceError(
                    .identityNotAuthorised,
                    "\(caller.identity) is not authorised in peers.yaml of \(configuration.zone)")
            }
            (buckets, origins) = (peer.artifacts, peer.origins)
        case .client:
            guard let client = configuration.client(identity: caller.identity),
                client.roles.contains(.consumer)
            else {
                throw ServiceError(
                    .identityNotAuthorised,
                    "\(caller.identity) has not the role consumer; ask the operator of "
                        + "\(configuration.zone) for it")
            }
            (buckets, origins) = (client.artifacts, client.origins)
        }
        guard Access.names(buckets, name.bucket) else { throw notGranted(caller, name) }
        guard Access.names(origins, name.zone) else {
            throw ServiceError(
                .originNotGranted,
                "artifacts of \(name.zone) are not granted to \(caller.identity); add it to its "
                    + "entry's origins in the configuration of \(configuration.zone)", field: "zone")
        }
    }

    /// Why a peer does not read at the moment; nil when it does. The operator may close its gate while
    /// bytes are on their way.
    func gateRefusal(_ caller: Caller) -> ServiceError? {
        guard case .peer(let id) = caller.kind else { return nil }
        return gates.refusal(to: id)
    }

    /// Why bytes that are on their way to the caller end; nil when they go on.
    func readRefusal(_ caller: Caller, _ name: ArtifactName) -> ServiceError? {
        do throws(ServiceError) {
            try checkGet(caller, name)
            return gateRefusal(caller)
        } catch {
            return error
        }
    }

    /// Why bytes that are on their way from the caller end; nil when they go on.
    func putRefusal(_ caller: Caller, _ name: ArtifactName) -> ServiceError? {
        do throws(ServiceError) {
            try checkPut(caller, name)
            return nil
        } catch {
            return error
        }
    }

    private static func names(_ list: [String], _ name: String) -> Bool {
        list.contains { $0.utf8.elementsEqual(name.utf8) }
    }

    private func notGranted(_ caller: Caller, _ name: ArtifactName) -> ServiceError {
        ServiceError(
            .bucketNotGranted,
            "the bucket \(name.bucket) is not granted to \(caller.identity); add it to its entry's "
                + "artifacts in the configuration of \(configuration.zone)", field: "bucket")
    }

    var noArtifacts: ServiceError {
        ServiceError(
            .bucketNotGranted,
            "\(configuration.zone) keeps no artifacts; add artifacts: to its bsfg.yaml")
    }
}
