internal import Buffers
internal import Facts

/// What the operator may ask about artifacts.
extension AdminHandler {
    private static let listDefault = 1_000
    private static let listMaximum = 10_000

    func listArtifacts(_ request: Bsfg_Admin_V1_ListArtifactsRequest)
        async throws(ServiceError) -> Bsfg_Admin_V1_ListArtifactsResponse
    {
        let artifacts = try nodeArtifacts()
        let limit = request.limit == 0 ? AdminHandler.listDefault : Int(request.limit)
        guard limit <= AdminHandler.listMaximum else {
            throw ServiceError(
                .tooLarge, "a list has at most \(AdminHandler.listMaximum) artifacts", field: "limit")
        }
        var after: ArtifactName?
        if !request.after.isEmpty {
            after = try ArtifactPath.name(request.after, "after")
        }
        let isPending = request.pending
        let store = artifacts.store
        let from = after
        let entries: [ArtifactEntry]
        do throws(BufferError) {
            entries = try await artifacts.pool.run { () throws(BufferError) in
                store.list(after: from, count: limit, isPending: isPending)
            }
        } catch {
            throw ServiceError(error)
        }
        var response = Bsfg_Admin_V1_ListArtifactsResponse()
        for entry in entries { response.artifacts.append(await status(entry, artifacts)) }
        if entries.count == limit, let last = entries.last { response.next = last.name.description }
        response.usage = AdminHandler.usage(store.usage)
        return response
    }

    func showArtifact(_ request: Bsfg_Admin_V1_ShowArtifactRequest)
        async throws(ServiceError) -> Bsfg_Admin_V1_ShowArtifactResponse
    {
        let artifacts = try nodeArtifacts()
        let name = try ArtifactService.name(
            request.zone.isEmpty ? configuration.zone : request.zone, request.bucket, request.key)
        guard let entry = artifacts.store.entry(name) else {
            throw ServiceError(.artifactNotFound, "there is no artifact \(name) here")
        }
        var response = Bsfg_Admin_V1_ShowArtifactResponse()
        response.artifact = await status(entry, artifacts)
        return response
    }

    private func nodeArtifacts() throws(ServiceError) -> NodeArtifacts {
        guard let artifacts else {
            throw ServiceError(
                .bucketNotGranted,
                "\(configuration.zone) keeps no artifacts; add artifacts: to its bsfg.yaml")
        }
        return artifacts
    }

    private func status(_ entry: ArtifactEntry, _ artifacts: NodeArtifacts)
        async -> Bsfg_Admin_V1_ArtifactStatus
    {
        var status = Bsfg_Admin_V1_ArtifactStatus()
        status.zone = entry.name.zone
        status.bucket = entry.name.bucket
        status.key = entry.name.key
        if let content = entry.stored?.content ?? entry.expected {
            status.digest = "sha256:\(content.digest)"
            status.size = content.size
            status.mediaType = content.mediaType
            status.fileName = content.fileName
        }
        if let stored = entry.stored {
            status.state = "stored"
            status.storedAtUnixMs = stored.storedMilliseconds
        } else if entry.isPending {
            let told = await artifacts.prefetch.state(entry.name)
            status.state = told.word
            status.failures = UInt32(clamping: told.failures)
        } else {
            status.state = "referenced"
        }
        status.uses = entry.uses.map { use in
            var told = Bsfg_Admin_V1_ArtifactUse()
            let log = logs.all.first { $0.buffer.identifier == use.log }
            told.stream = log?.stream.name ?? ""
            told.origin = log?.origin ?? ""
            told.offset = use.offset
            return told
        }
        return status
    }

    static func usage(_ usage: ArtifactUsage) -> Bsfg_Admin_V1_ArtifactUsage {
        var told = Bsfg_Admin_V1_ArtifactUsage()
        told.names = UInt64(usage.names)
        told.pending = UInt64(usage.pending)
        told.blobs = UInt64(usage.blobs)
        told.bytes = usage.bytes
        told.capacityBytes = usage.capacityBytes
        told.reservedBytes = usage.reservedBytes
        return told
    }
}
