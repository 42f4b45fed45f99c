;; Endless loops, each of another kind of work. `calibrate.rs` has this module as bytes.
(module
  (memory 1 1)
  (func (export "plain") (loop $again (br $again)))
  (func (export "arithmetic") (local $x i32)
    (local.set $x (i32.const 77))
    (loop $again
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 13))))
      (local.set $x (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 17))))
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 5))))
      (i32.store (i32.const 0) (local.get $x))
      (br $again)))
  (func (export "memory") (local $at i32) (local $sum i32)
    (loop $again
      (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $at))))
      (i32.store (local.get $at) (local.get $sum))
      (local.set $at (i32.and (i32.add (local.get $at) (i32.const 68)) (i32.const 32764)))
      (br $again)))
  (func (export "branches") (local $x i32) (local $y i32)
    (loop $again
      (local.set $x (i32.add (i32.mul (local.get $x) (i32.const 1103515245)) (i32.const 12345)))
      (if (i32.and (local.get $x) (i32.const 65536))
        (then (i32.store (i32.const 4) (local.get $x)))
        (else (i32.store (i32.const 8) (local.tee $y (i32.add (local.get $y) (i32.const 1))))))
      (br $again)))
  (func (export "division") (local $x i64)
    (loop $again
      (local.set $x (i64.rem_u (i64.const -59) (i64.or (local.get $x) (i64.const 1))))
      (local.set $x (i64.div_u (i64.const -1) (i64.or (local.get $x) (i64.const 3))))
      (i64.store (i32.const 0) (local.get $x))
      (br $again))))
