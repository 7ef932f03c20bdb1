import Foundation
import Glibc
import RPC
import Synchronization
import Testing

@testable import Gateway

/// What commands leave in the directories of a CA and of a node, also when they fail or meet another.
@Suite struct CertificateFilesTests {
    private final class Directory: Sendable {
        let path = NSTemporaryDirectory() + "certificate-files-\(UUID().uuidString)"

        init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }

        deinit { try? FileManager.default.removeItem(atPath: path) }

        func make(_ name: String, _ text: String = "") -> String {
            _ = FileManager.default.createFile(atPath: "\(path)/\(name)", contents: Data(text.utf8))
            return "\(path)/\(name)"
        }

        func bytes(_ name: String) -> Data? { FileManager.default.contents(atPath: "\(path)/\(name)") }
    }

    @Test func `revocations at the same time are all in the CRL, each list under a number of its own`() throws {
        let place = try Directory()
        try CertificateAuthority.make(name: "ca").write(directory: place.path, force: false)
        let numbers = Mutex<[String]>([])
        let failures = Mutex<[String]>([])
        DispatchQueue.concurrentPerform(iterations: 16) { index in
            do throws(CertificateError) {
                let (list, _) = try CertificateAuthority.revoke(
                    directory: place.path, files: [], serials: ["A\(index)"])
                numbers.withLock { $0.append(list.number?.description ?? "") }
            } catch {
                failures.withLock { $0.append(error.sentence) }
            }
        }
        #expect(failures.withLock { $0 } == [])
        #expect(Set(numbers.withLock { $0 }).count == 16)
        let authority = try CertificateAuthority(directory: place.path)
        let list = try #require(
            try CertificateAuthority.revocationList(
                directory: place.path, authority: authority.certificate))
        #expect(list.revokedCount == 16 && list.number?.description == "0x10")
    }

    @Test func `a CA that is replaced is kept with its key and CRL, and the new one revokes from the start`() throws {
        let place = try Directory()
        let old = try CertificateAuthority.make(name: "old ca")
        #expect(try old.write(directory: place.path, force: true) == nil, "there was none")
        let (crl, _) = try CertificateAuthority.revoke(directory: place.path, files: [], serials: ["AA"])
        let key = place.bytes("ca.key")
        let new = try CertificateAuthority.make(name: "new ca")
        let kept = try #require(try new.write(directory: place.path, force: true))
        #expect(FileManager.default.contents(atPath: "\(kept)/ca.key") == key)
        let archived = try CertificateAuthority(directory: kept)
        #expect(archived.certificate.fingerprint == old.certificate.fingerprint)
        #expect(
            try CertificateAuthority.revocationList(directory: kept, authority: old.certificate)?.fingerprint
                == crl.fingerprint)
        let (list, _) = try CertificateAuthority.revoke(directory: place.path, files: [], serials: ["BB"])
        #expect(list.isSigned(by: new.certificate) && list.number?.description == "0x1")
        // Within the same second too, nothing that is kept is replaced.
        let again = try #require(
            try CertificateAuthority.make(name: "third ca").write(directory: place.path, force: true))
        #expect(again != kept)
        #expect(
            try CertificateAuthority(directory: again).certificate.fingerprint == new.certificate.fingerprint)
    }

    @Test func `the key of a CA that others can read is refused with the chmod to run`() throws {
        let place = try Directory()
        try CertificateAuthority.make(name: "ca").write(directory: place.path, force: false)
        chmod("\(place.path)/ca.key", 0o644)
        let error = try #require(throws: CertificateError.self) {
            try CertificateAuthority(directory: place.path)
        }
        #expect(error.sentence.contains("chmod 600 \(place.path)/ca.key"))
        chmod("\(place.path)/ca.key", 0o600)
        _ = try CertificateAuthority(directory: place.path)
    }

    @Test func `a pair whose certificate cannot be written keeps its key`() throws {
        let place = try Directory()
        let authority = try CertificateAuthority.make(name: "ca")
        func issue() throws {
            try authority.issue(CertificateRequest(identity: "a")).write(
                directory: place.path, name: "server", authority: authority.certificate, force: true)
        }
        try issue()
        let (key, certificate) = (place.bytes("server.key"), place.bytes("server.crt"))
        // As a full disk would, this keeps the second file from being written and not the first.
        let obstacle = "\(place.path)/server.crt.new-\(getpid())"
        try FileManager.default.createDirectory(atPath: obstacle, withIntermediateDirectories: false)
        #expect(throws: CertificateError.self) { try issue() }
        #expect(place.bytes("server.key") == key && place.bytes("server.crt") == certificate)
        #expect(!CertificateFiles.exists("\(place.path)/server.key.new-\(getpid())"))
        rmdir(obstacle)
        try issue()
        #expect(try PrivateKey(file: "\(place.path)/server.key").belongs(
            to: X509Certificate.all(file: "\(place.path)/server.crt")[0]))
    }

    @Test func `new files that belong together are taken back when one of them is there`() throws {
        let place = try Directory()
        let there = place.make("b", "kept")
        #expect(throws: CertificateError.self) {
            try CertificateFiles.write([
                CertificateFiles.NewFile("\(place.path)/a", [1], mode: 0o600, isReplacing: false),
                CertificateFiles.NewFile(there, [1], mode: 0o600, isReplacing: false),
            ])
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: place.path) == ["b"])
        #expect(place.bytes("b") == Data("kept".utf8))
    }
}

/// What root makes in another user's directory; as root, who alone can give anything away.
@Suite(.enabled(if: geteuid() == 0)) struct FileOwnerTests {
    private static let other: uid_t = 65_534

    private final class Directory {
        let path = NSTemporaryDirectory() + "file-owner-\(UUID().uuidString)"

        init() throws {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
            chown(path, FileOwnerTests.other, FileOwnerTests.other)
        }

        deinit { try? FileManager.default.removeItem(atPath: path) }

        func owner(_ name: String) -> uid_t? {
            var found = stat()
            return lstat("\(path)/\(name)", &found) == 0 ? found.st_uid : nil
        }
    }

    @Test func `new files and directories are the owner's of the directory above`() throws {
        let place = try Directory()
        try CertificateFiles.makeDirectory("\(place.path)/one/two")
        try CertificateFiles.write([1], to: "\(place.path)/one/two/file", mode: 0o600, force: false)
        try CertificateFiles.makeDirectory("\(place.path)/ca", mode: 0o700, owner: .caller)
        try CertificateFiles.write([1], to: "\(place.path)/ca/key", mode: 0o600, force: false)
        for name in ["one", "one/two", "one/two/file"] { #expect(place.owner(name) == Self.other, "\(name)") }
        for name in ["ca", "ca/key"] { #expect(place.owner(name) == 0, "\(name)") }
        try CertificateFiles.makeDirectory("\(place.path)/ca")
        #expect(place.owner("ca") == 0, "it was there")
    }

    @Test func `a directory that was put in the place of a new one is not given away`() throws {
        let place = try Directory()
        try CertificateFiles.makeDirectory("\(place.path)/ca", mode: 0o700, owner: .caller)
        try CertificateFiles.write([1], to: "\(place.path)/ca/key", mode: 0o600, force: false)
        let above = open(place.path, O_RDONLY | O_DIRECTORY)
        let swapped = open("\(place.path)/ca", O_RDONLY | O_DIRECTORY)
        defer {
            close(above)
            close(swapped)
        }
        #expect(!FileOwner.ofDirectory.give(newDirectory: swapped, in: above))
        #expect(place.owner("ca") == 0)
        // A link is somebody else's from the start.
        symlink("\(place.path)/ca", "\(place.path)/link")
        try CertificateFiles.makeDirectory("\(place.path)/link")
        #expect(place.owner("ca") == 0)
    }

    @Test func `what a command made in a log becomes its owner's, and nothing that a link leads to`() throws {
        let place = try Directory()
        let elsewhere = try Directory()
        let target = "\(elsewhere.path)/root's"
        try CertificateFiles.write([1], to: target, mode: 0o600, force: false, owner: .caller)
        let linked = "\(elsewhere.path)/linked"
        try CertificateFiles.write([1], to: linked, mode: 0o600, force: false, owner: .caller)
        try CertificateFiles.write([1], to: "\(place.path)/manifest", mode: 0o640, force: false, owner: .caller)
        try CertificateFiles.makeDirectory("\(place.path)/quarantine", owner: .caller)
        try CertificateFiles.write(
            [1], to: "\(place.path)/quarantine/copy", mode: 0o640, force: false, owner: .caller)
        symlink(target, "\(place.path)/symbolic")
        link(linked, "\(place.path)/hard")
        mkfifo("\(place.path)/pipe", 0o600)
        #expect(place.owner("manifest") == 0 && place.owner("quarantine/copy") == 0)
        try FileOwner.giveContents(of: place.path)
        for name in ["manifest", "quarantine", "quarantine/copy"] {
            #expect(place.owner(name) == Self.other, "\(name)")
        }
        #expect(elsewhere.owner("root's") == 0 && elsewhere.owner("linked") == 0)
        // Root's own log stays root's.
        chown(elsewhere.path, 0, 0)
        try FileOwner.giveContents(of: elsewhere.path)
        #expect(elsewhere.owner("root's") == 0)
    }
}
