import Facts
import Testing

@testable import RPC

@Suite struct ReloadableVerifierTests {
    private func identities(_ generation: UInt64) throws -> IdentityVerifier {
        try IdentityVerifier(entries: [], nameKinds: Set(IdentityNameKind.allCases), generation: generation)
    }

    @Test func `only callers whose entry changed have to connect again`() throws {
        let verifier = ReloadableVerifier(try identities(1))
        let changed = Caller(kind: .peer(id: "a"), identity: "a")
        let other = Caller(kind: .client(name: "b"), identity: "b")
        #expect(verifier.isCurrent(changed, since: 1) && verifier.isCurrent(other, since: 1))
        verifier.replace(with: try identities(2), changed: [.peer(id: "a")])
        #expect(verifier.generation == 2)
        #expect(!verifier.isCurrent(changed, since: 1))
        #expect(verifier.isCurrent(changed, since: 2), "it has connected again")
        #expect(verifier.isCurrent(other, since: 1))
        verifier.replace(with: try identities(3), changed: [])
        #expect(!verifier.isCurrent(changed, since: 1), "an older change is not forgotten")
        #expect(verifier.isCurrent(changed, since: 2))
    }
}
