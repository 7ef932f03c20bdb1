import Facts
import Foundation
import Synchronization
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

    @Test("gateway decision 40: nobody is judged by the grants of another trust")
    func trustAndGrantsAreReplacedInOneStep() throws {
        final class Grants: Sendable {
            let areNew = Mutex(false)
            let seen = Mutex<Bool?>(nil)
        }
        let verifier = ReloadableVerifier(try identities(1))
        let grants = Grants()
        let asked = DispatchSemaphore(value: 0)
        let answered = DispatchSemaphore(value: 0)
        verifier.replace(with: try identities(2), changed: []) {
            // Somebody who asks while it is done hears nothing before it is done.
            Thread.detachNewThread {
                asked.signal()
                if verifier.generation == 2 { grants.seen.withLock { $0 = grants.areNew.withLock { $0 } } }
                answered.signal()
            }
            asked.wait()
            Thread.sleep(forTimeInterval: 0.2)
            grants.areNew.withLock { $0 = true }
        }
        answered.wait()
        #expect(grants.seen.withLock { $0 } == true)
    }

    @Test("gateway decision 40: who was verified again stays, who was refused goes")
    func whoWasVerifiedAgainStays() throws {
        func caller(_ name: String) -> Caller {
            Caller(
                kind: .client(name: name), identity: name,
                certificate: CallerCertificate(
                    names: [name], fingerprint: "print of \(name)", serial: "1",
                    notBeforeUnixMilliseconds: 0, notAfterUnixMilliseconds: 1))
        }
        let verifier = ReloadableVerifier(try identities(1))
        let (kept, refused, unseen) = (caller("kept"), caller("refused"), caller("unseen"))
        verifier.replace(
            with: try identities(2),
            changed: [.client(name: "kept"), .client(name: "unseen")],
            reverified: ["print of kept": true, "print of refused": false])
        #expect(verifier.isCurrent(kept, since: 1), "its CA file changed, and it is still who it was")
        #expect(!verifier.isCurrent(refused, since: 1), "its entry did not change, and it is refused")
        #expect(!verifier.isCurrent(unseen, since: 1), "nobody looked at it")
        #expect(verifier.isCurrent(refused, since: 2), "verified in the generation in force")
    }
}
