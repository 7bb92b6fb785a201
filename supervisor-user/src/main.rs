//! y
use supervisor_user::kernel::*;
fn main(){
 for h in hooks().unwrap() { match h.state { HookState::Works(n)=>println!("{} {:?}",h.name,n), HookState::Refused(e)=>println!("{} REFUSED {e}",h.name)} }
 let t0=std::time::Instant::now();
 let mut t=Tracer::start(&Options{report_after_ns:1_000_000_000,log:false,attach:true}).unwrap();
 println!("start {:?}",t0.elapsed());
 let mut n=0; let t0=std::time::Instant::now();
 let z=t.scan(true,|r|{ n+=1; if n<4 {println!("{r:?}")}}).unwrap();
 println!("{n} {:?} {:?}",z, t0.elapsed());
 std::thread::sleep(std::time::Duration::from_secs(8));
 println!("{:?}",t.counters().unwrap()); println!("{:?}",t.unreaped().unwrap());
 println!("{:?}", t.epochs().unwrap().iter().enumerate().filter(|x|*x.1!=0).collect::<Vec<_>>());
 for z in t.scan(false,|_|{}).unwrap() { println!("{z:?}"); let p=t.process(&z.record.id).unwrap(); println!("{p:?}"); if let Some(p)=p { println!("creator {:?} exec {:?} w {:?}",t.process(&p.creator).unwrap(),t.exec(&p.creator).unwrap().map(|e|String::from_utf8_lossy(&e.argv[..e.argv_len as usize]).into_owned()),t.wait(&z.record.parent).unwrap());}}
 while let Some(e)=t.next_event(){println!("{e:?}")}
}
